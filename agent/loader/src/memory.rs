//! Memory, and the functions that copy it: the compiler and `alloc` need them, and there is no C library.

use core::{
    alloc::{GlobalAlloc, Layout},
    arch::asm,
    ptr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// From this size on an allocation is a mapping of its own, which can be returned: the decoder's window grows by
/// doubling. Smaller ones are few, come from one reserve, and stay.
const LARGE: usize = 64 << 10;
const RESERVE: usize = 4 << 20;

struct Allocator {
    /// The rest of the reserve: `next..end`.
    next: AtomicUsize,
    end: AtomicUsize,
}

#[global_allocator]
static ALLOCATOR: Allocator = Allocator { next: AtomicUsize::new(0), end: AtomicUsize::new(0) };

// SAFETY: every block is fresh from mmap or a part of the reserve that was never handed out before, aligned as asked
// (mappings: to the page; no type here asks for more than a page, and `alloc` refuses it). The process has one thread.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() > 4096 {
            return ptr::null_mut();
        }
        if layout.size() >= LARGE {
            return map(layout.size());
        }
        let start = self.next.load(Relaxed).next_multiple_of(layout.align());
        if start != 0 && start + layout.size() <= self.end.load(Relaxed) {
            self.next.store(start + layout.size(), Relaxed);
            return ptr::with_exposed_provenance_mut(start);
        }
        let reserve = map(RESERVE);
        if !reserve.is_null() {
            let start = reserve.expose_provenance();
            self.next.store(start + layout.size(), Relaxed);
            self.end.store(start + RESERVE, Relaxed);
        }
        reserve
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if layout.size() >= LARGE {
            // SAFETY: blocks of this size are mappings of their own, and the caller uses this one no more.
            let _ = unsafe { munmap(block.cast(), layout.size()) };
        }
    }
}

/// Fresh zeroed memory, or null.
fn map(size: usize) -> *mut u8 {
    // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing that exists.
    let mapping = unsafe {
        mmap_anonymous(ptr::null_mut(), size, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
    };
    mapping.map_or(ptr::null_mut(), |mapping| mapping.cast())
}

// The functions below are written in assembly so that the compiler cannot turn them into calls of themselves.

/// # Safety
/// As C's `memcpy`.
// SAFETY: the only definition of the symbol in this program, with the meaning that the compiler expects of it.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    // SAFETY: the caller owns `size` bytes at both places; going upwards reads each byte of `from` before it is
    // overwritten if `to` is below it.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("rep movsb", inout("rcx") size => _, inout("rdi") to => _, inout("rsi") from => _,
            options(nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("cbz {n}, 3f", "2: ldrb {b:w}, [{from}], #1", "strb {b:w}, [{to}], #1", "subs {n}, {n}, #1", "b.ne 2b",
            "3:", n = inout(reg) size => _, to = inout(reg) to => _, from = inout(reg) from => _, b = out(reg) _,
            options(nostack));
    }
    to
}

/// # Safety
/// As C's `memmove`.
// SAFETY: as for `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, size: usize) -> *mut u8 {
    if to.addr().wrapping_sub(from.addr()) >= size {
        // SAFETY: `to` is below `from` or does not overlap it.
        return unsafe { memcpy(to, from, size) };
    }
    // SAFETY: the caller owns both; `to` is above `from`, so going downwards reads each byte before it is overwritten.
    // The direction flag is put back.
    unsafe {
        let (last_to, last_from) =
            (to.wrapping_add(size).wrapping_sub(1), from.wrapping_add(size).wrapping_sub(1));
        #[cfg(target_arch = "x86_64")]
        asm!("std", "rep movsb", "cld", inout("rcx") size => _, inout("rdi") last_to => _,
            inout("rsi") last_from => _, options(nostack));
        #[cfg(target_arch = "aarch64")]
        asm!("cbz {n}, 3f", "2: ldrb {b:w}, [{from}], #-1", "strb {b:w}, [{to}], #-1", "subs {n}, {n}, #1",
            "b.ne 2b", "3:", n = inout(reg) size => _, to = inout(reg) last_to => _, from = inout(reg) last_from => _,
            b = out(reg) _, options(nostack));
    }
    to
}

/// # Safety
/// As C's `memset`.
// SAFETY: as for `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memset(to: *mut u8, byte: i32, size: usize) -> *mut u8 {
    // SAFETY: the caller owns `size` bytes there.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        asm!("rep stosb", inout("rcx") size => _, inout("rdi") to => _, in("al") byte as u8,
            options(nostack, preserves_flags));
        #[cfg(target_arch = "aarch64")]
        asm!("cbz {n}, 3f", "2: strb {b:w}, [{to}], #1", "subs {n}, {n}, #1", "b.ne 2b", "3:",
            n = inout(reg) size => _, to = inout(reg) to => _, b = in(reg) byte, options(nostack));
    }
    to
}

/// # Safety
/// As C's `memcmp`.
// SAFETY: as for `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    for index in 0..size {
        // SAFETY: the caller owns `size` bytes at both places. Volatile: not to be turned into a call of `memcmp`.
        let (a, b) = unsafe { (a.add(index).read_volatile(), b.add(index).read_volatile()) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
    }
    0
}

/// # Safety
/// As C's `bcmp`.
// SAFETY: as for `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, size: usize) -> i32 {
    // SAFETY: the same contract.
    unsafe { memcmp(a, b, size) }
}

/// # Safety
/// As C's `strlen`.
// SAFETY: as for `memcpy`.
#[unsafe(no_mangle)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    let mut size = 0;
    // SAFETY: the caller's text ends with a NUL. Volatile: not to be turned into a call of `strlen`.
    while unsafe { text.add(size).read_volatile() } != 0 {
        size += 1;
    }
    size
}
