//! What other runtimes cost. Each program in `bin` measures one of them, the way Polyphony's own row does.
