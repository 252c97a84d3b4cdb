//! Instances that watch instances: no loops, no long chains, and no more ways for an event to travel than there is time
//! to walk them (`ep_loop_check` and `reverse_path_check` of Linux).
//!
//! Every file knows the instances that watch it, each as often as it does. Locks: [`EpollNesting`], then an instance's
//! `interest`, then [`Watchers`], a leaf.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use abi::{Errno, Result};
use parking_lot::Mutex;

use super::Epoll;
use crate::vfs::File;

/// How deep instances may watch each other (`EP_MAX_NESTS` of Linux).
const MAX_DEPTH: usize = 4;

/// On how many ways an event of one file may reach instances that nobody watches, by the number of instances between.
/// Without any, there may be as many as there are watches.
const MAX_PATHS: [usize; MAX_DEPTH + 1] = [usize::MAX, 500, 100, 50, 10];

/// Serialises the checks; one per kernel.
#[derive(Debug, Default)]
pub struct EpollNesting(pub(super) Mutex<()>);

/// How far it is from instances, by address, to the end of their longest chain. Each is looked at once: there may be
/// more ways through a net of instances than time to walk them.
type Depths = HashMap<usize, usize>;

/// The instances that watch a file, by address, each with the number of its watches.
#[derive(Default)]
pub(crate) struct Watchers(Mutex<HashMap<usize, (Weak<Epoll>, usize)>>);

/// One watch, as counted in [`Watchers`].
pub(super) struct WatcherLink {
    list: Arc<Watchers>,
    watcher: usize,
}

impl Drop for WatcherLink {
    fn drop(&mut self) {
        let mut list = self.list.0.lock();
        if let Some((_, times)) = list.get_mut(&self.watcher) {
            *times -= 1;
            if *times == 0 {
                list.remove(&self.watcher);
            }
        }
    }
}

impl Watchers {
    /// The list of a file.
    pub(super) fn of(file: &File) -> &Arc<Self> {
        file.ops_as::<Epoll>().map_or_else(|| file.watchers(), |epoll| &epoll.watchers)
    }

    /// Counts one more watch of `watcher`.
    pub(super) fn link(self: &Arc<Self>, watcher: &Weak<Epoll>) -> WatcherLink {
        let at = watcher.as_ptr().addr();
        self.0.lock().entry(at).or_insert_with(|| (watcher.clone(), 0)).1 += 1;
        WatcherLink { list: self.clone(), watcher: at }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    fn all(&self) -> Vec<(Arc<Epoll>, usize)> {
        let list = self.0.lock();
        list.values().filter_map(|(watcher, times)| Some((watcher.upgrade()?, *times))).collect()
    }

    /// Refuses where too many ways lead on from here.
    fn check_paths(&self) -> Result<()> {
        self.count_paths(0, 1, &mut [0; MAX_DEPTH + 1])
    }

    /// Adds to `counts` the ways that lead on from here, where `ways` lead to, through `depth` instances.
    fn count_paths(&self, depth: usize, ways: usize, counts: &mut [usize; MAX_DEPTH + 1]) -> Result<()> {
        let limit = *MAX_PATHS.get(depth).ok_or(Errno::EINVAL)?;
        for (watcher, times) in self.all() {
            let ways = ways.saturating_mul(times);
            if !watcher.watchers.is_empty() {
                watcher.watchers.count_paths(depth + 1, ways, counts)?;
                continue;
            }
            counts[depth] = counts[depth].saturating_add(ways);
            if counts[depth] > limit {
                return Err(Errno::EINVAL);
            }
        }
        Ok(())
    }
}

impl Epoll {
    /// Refuses to watch `nested` where that would make a loop or too long a chain.
    pub(super) fn check_nesting(&self, nested: &Self) -> Result<()> {
        if std::ptr::eq(self, nested) {
            return Err(Errno::EINVAL);
        }
        let below = nested.depth_without(self, MAX_DEPTH, &mut Depths::new())?;
        let above = self.height(MAX_DEPTH, &mut Depths::new());
        if above + 1 + below > MAX_DEPTH { Err(Errno::ELOOP) } else { Ok(()) }
    }

    /// Refuses a watch of `file` that has just been made where an event would now travel too many ways. The lock of
    /// `nesting` is held where `file` is an instance.
    pub(super) fn check_paths(&self, nesting: &EpollNesting, file: &Arc<File>) -> Result<()> {
        if let Some(nested) = file.ops_as::<Self>() {
            let mut below = HashMap::new();
            nested.collect_below(&mut below);
            let mut sources = below.values().filter(|file| file.ops_as::<Self>().is_none());
            return sources.try_for_each(|source| Watchers::of(source).check_paths());
        }
        // Whoever begins to watch this instance after this look finds the new watch below it, and checks it.
        if self.watchers.is_empty() {
            return Ok(());
        }
        let _nesting = nesting.0.lock();
        Watchers::of(file).check_paths()
    }

    /// The files that are watched.
    fn watched(&self) -> Vec<Arc<File>> {
        let interest = self.interest.lock();
        interest.watches.values().filter_map(|watch| watch.item.file.upgrade()).collect()
    }

    /// All files watched here or in an instance below, by address.
    fn collect_below(&self, found: &mut HashMap<usize, Arc<File>>) {
        for file in self.watched() {
            let at = Arc::as_ptr(&file).addr();
            if found.insert(at, file.clone()).is_none()
                && let Some(nested) = file.ops_as::<Self>()
            {
                nested.collect_below(found);
            }
        }
    }

    /// How many instances high the longest chain above this one is, at most `budget`.
    fn height(&self, budget: usize, known: &mut Depths) -> usize {
        let at = std::ptr::from_ref(self).addr();
        if let Some(&height) = known.get(&at) {
            return height;
        }
        if budget == 0 {
            return 0;
        }
        let above = self.watchers.all();
        let height =
            above.iter().map(|(watcher, _)| 1 + watcher.height(budget - 1, known)).max().unwrap_or(0);
        known.insert(at, height);
        height
    }

    /// How many instances deep the longest chain below this one is; fails where it meets `forbidden`.
    fn depth_without(&self, forbidden: &Self, budget: usize, known: &mut Depths) -> Result<usize> {
        let at = std::ptr::from_ref(self).addr();
        if let Some(&depth) = known.get(&at) {
            return Ok(depth);
        }
        let mut deepest = 0;
        for epoll in self.watched().iter().filter_map(|file| file.ops_as::<Self>()) {
            if std::ptr::eq(epoll, forbidden) || budget == 0 {
                return Err(Errno::ELOOP);
            }
            deepest = deepest.max(1 + epoll.depth_without(forbidden, budget - 1, known)?);
        }
        known.insert(at, deepest);
        Ok(deepest)
    }
}
