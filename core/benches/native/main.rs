//! What the native host costs, against the barest thing that does the same, and against other runtimes.
//!
//!     cargo bench -p polyphony-core --bench native [PART OF A ROW'S NAME…]
//!
//! Prints a line a row for gem/bench/report.rb. Every figure comes from a fresh process on one core: this
//! program again, told to be one side of a row, or a program of core/benches/peers, which bin/bench builds.

mod files;
mod measure;
mod memory;
mod operations;
mod pairs;
mod peers;
mod rows;
mod sleepers;
mod switches;
mod syscalls;
mod timers;
mod workers;

use std::env;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["--side", name] => println!("{}", rows::figure(name)),
        ["--traced", program] => syscalls::run(program),
        _ => {
            let asked: Vec<&str> = words.into_iter().filter(|word| !word.starts_with('-')).collect();
            files::make();
            rows::all()
                .iter()
                .filter(|row| asked.is_empty() || asked.iter().any(|part| row.name.contains(part)))
                .for_each(|row| println!("{}", pairs::line(row)));
        }
    }
}
