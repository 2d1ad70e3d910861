//! Tells valgrind where the stacks are.
//!
//! Seeing the stack pointer jump by less than two megabytes valgrind takes it for one large frame, and what lies
//! between two fibers for garbage. What it is told, it is told by instructions that do nothing anywhere else.

/// `VG_USERREQ__STACK_REGISTER` of valgrind.h.
#[cfg(target_arch = "x86_64")]
const STACK_REGISTER: usize = 0x1501;

/// Says that a stack begins at `lowest` and ends before `top`.
#[cfg(target_arch = "x86_64")]
pub(super) fn register_stack(lowest: usize, top: usize) {
    let request = [STACK_REGISTER, lowest, top - 1, 0, 0, 0];
    // SAFETY: as valgrind.h has it. The rotations add up to nothing, and `rbx` is exchanged with itself; valgrind,
    // where it is there, reads the request and answers in `rdx`.
    unsafe {
        std::arch::asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") request.as_ptr(),
            inout("rdx") 0usize => _,
            options(nostack),
        );
    }
}

/// Other processors are told in other words, which nobody has needed yet.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn register_stack(_: usize, _: usize) {}
