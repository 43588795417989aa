//! The entry point, its arguments, and short messages to stderr: the work of a C runtime.

use core::{arch::naked_asm, ffi::CStr};

use rustix::{io, stdio};

use crate::process;

/// The stack as the kernel prepared it: count, arguments, null, environment, null (System V ABI, "Process
/// Initialization").
pub(crate) struct Arguments {
    count: usize,
    first: *const *const u8,
}

impl Arguments {
    pub(crate) fn all(&self) -> impl Iterator<Item = &'static CStr> {
        (0..self.count).map(|index| {
            // SAFETY: the kernel put `count` pointers to NUL-terminated strings there, which live as long as the process.
            unsafe { CStr::from_ptr((*self.first.add(index)).cast()) }
        })
    }

    /// The environment, a null-terminated array, as the kernel passed it.
    pub(crate) fn environment(&self) -> *const *const u8 {
        // SAFETY: the environment follows the arguments and their null.
        unsafe { self.first.add(self.count + 1) }
    }
}

/// The entry point: hands the initial stack pointer to `start`.
// SAFETY: the linker takes the symbol `_start` as the entry point, and no other object defines it.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn _start() -> ! {
    #[cfg(target_arch = "x86_64")]
    naked_asm!("xor ebp, ebp", "mov rdi, rsp", "and rsp, -16", "call {start}", "ud2", start = sym start);
    #[cfg(target_arch = "aarch64")]
    naked_asm!("mov x29, xzr", "mov x30, xzr", "mov x0, sp", "b {start}", start = sym start);
}

extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: `_start` passes the stack as the kernel left it: the count, then the argument pointers.
    let arguments = unsafe { Arguments { count: *stack, first: stack.add(1).cast() } };
    process::exit(crate::run(&arguments))
}

/// A piece of a message; formatting by `core::fmt` would double the program.
pub(crate) enum Text<'a> {
    Str(&'a str),
    C(&'a CStr),
    Number(u32),
}

/// Writes the pieces to stderr. If that fails, there is nobody to report it to.
pub(crate) fn say(pieces: &[Text<'_>]) {
    // SAFETY: nobody closes the three standard descriptors in this process.
    let stderr = unsafe { stdio::stderr() };
    for piece in pieces {
        let _ = match piece {
            Text::Str(text) => io::write(stderr, text.as_bytes()),
            Text::C(text) => io::write(stderr, text.to_bytes()),
            Text::Number(number) => {
                let (mut digits, mut at, mut rest) = ([0; 10], 10, *number);
                loop {
                    at -= 1;
                    digits[at] = b'0' + (rest % 10) as u8;
                    rest /= 10;
                    if rest == 0 {
                        break;
                    }
                }
                io::write(stderr, &digits[at..])
            }
        };
    }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    say(&[Text::Str("bridge loader: out of memory, or the compressed agent is damaged\n")]);
    process::exit(1)
}

// The library `core` is delivered compiled for unwinding and names these two; with `panic = "abort"` neither is called.

// SAFETY: the only definition of the symbol in this program; nothing calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    process::exit(1)
}
