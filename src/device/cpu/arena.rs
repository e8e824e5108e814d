//! Scratch memory of the network's kernels. A thread keeps what its tasks took, so that a repeated one takes none from the system.

use bumpalo::Bump;
use bytemuck::Zeroable;
use std::alloc::Layout;
use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::thread::LocalKey;

/// Bytes of a cache line.
const LINE: usize = 64;
/// Bytes behind an array, so that the next of the same size begins elsewhere in a page: a load waits for a store to the same place
/// of another page.
const GAP: usize = 17 * LINE;

thread_local! {
    /// Idle arenas. A thread that waits for its tasks works on one of them meanwhile, hence more than one.
    static IDLE: RefCell<Vec<Bump>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with an empty arena. What it took is freed all at once, and kept for the thread's next task.
pub fn with_arena<R>(f: impl FnOnce(&Bump) -> R) -> R {
    with_idle(&IDLE, |arena| {
        let result = f(arena);
        arena.reset();
        result
    })
}

/// Runs `f` with one of the thread's idle things, or a new one, which is idle again afterwards.
pub fn with_idle<T: Default, R>(idle: &'static LocalKey<RefCell<Vec<T>>>, f: impl FnOnce(&mut T) -> R) -> R {
    let mut thing = idle.with_borrow_mut(Vec::pop).unwrap_or_default();
    let result = f(&mut thing);
    idle.with_borrow_mut(|idle| idle.push(thing));
    result
}

/// Zeros.
pub fn zeros<T: Zeroable + Copy>(arena: &Bump, len: usize) -> &mut [T] {
    zeroed(room(arena, len))
}

/// Room for what the tasks of a kernel make each a part of. It begins at a cache line.
#[allow(clippy::mut_from_ref, reason = "an arena gives each caller memory of its own")]
pub fn room<T: Copy>(arena: &Bump, len: usize) -> &mut [MaybeUninit<T>] {
    let bytes = Layout::array::<T>(len).ok().and_then(|layout| layout.size().checked_add(GAP));
    let layout = bytes.and_then(|bytes| Layout::from_size_align(bytes, LINE.max(align_of::<T>())).ok());
    let room = arena.alloc_layout(layout.expect("less than the address space")).cast();
    // SAFETY: the arena has just given this memory, of this size and alignment, to nobody else; it may hold anything.
    unsafe { std::slice::from_raw_parts_mut(room.as_ptr(), len) }
}

/// Makes zeros of a part of some [`room`].
pub fn zeroed<T: Zeroable + Copy>(room: &mut [MaybeUninit<T>]) -> &mut [T] {
    room.fill(MaybeUninit::zeroed());
    // SAFETY: every entry has been written, and zeros are a T.
    unsafe { &mut *(room as *mut [MaybeUninit<T>] as *mut [T]) }
}

/// What the tasks made of all of some [`room`].
///
/// # Safety
/// All of it has been written.
pub unsafe fn written<T>(room: &[MaybeUninit<T>]) -> &[T] {
    // SAFETY: the caller's promise.
    unsafe { &*(room as *const [MaybeUninit<T>] as *const [T]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_within_a_task_have_arenas_of_their_own_and_all_are_kept() {
        let run = || {
            with_arena(|outer| {
                let kept = zeros::<u64>(outer, 5000);
                kept.fill(7);
                for len in [10, 100_000] {
                    with_arena(|inner| {
                        let parts = room::<u64>(inner, len);
                        parts.chunks_mut(3).for_each(|part| zeroed(part).fill(9));
                        // SAFETY: the chunks are all of it.
                        assert!(unsafe { written(parts) }.iter().all(|&x| x == 9));
                    });
                }
                assert!(kept.iter().all(|&x| x == 7));
                outer.chunk_capacity()
            })
        };
        run();
        // Twice the same: the thread has kept both.
        assert_eq!((run(), IDLE.with_borrow(Vec::len)), (run(), 2));
    }
}
