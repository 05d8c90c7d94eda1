//! Who can open a file together, and who no longer can when its keys change (sops-format.md 10).
//!
//! Holders of keys open a file when they have a key of as many groups as the threshold says. Whoever
//! could open it may have kept the data key: unless he still can, it has to be a new one.

use std::collections::BTreeSet;

use crate::key_map::KeyMap;
use crate::key_spec::KeySpec;
use crate::rekey::KeyTarget;
use crate::shamir::MAX_SHARES;

/// Which holders of keys lost access to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostAccess {
    /// Sets of keys that opened the file together, each needed, and that no longer do: first the keys
    /// that opened it by themselves, all of them; then examples of several. Empty where there are too
    /// many groups to find out, and access counts as lost.
    pub readers: Vec<Vec<KeySpec>>,
}

/// As many sets of several keys are told.
const MAX_TOLD: usize = 16;
/// As many keys are looked at for each choice of groups, to tell who lost access.
const MAX_TRIED: usize = 64;
/// As many looks at a key are taken to find out; beyond, access counts as lost. A file of somebody else
/// must not hold up who only asks what would change.
const MAX_WORK: usize = 4_000_000;

/// Returns who could open a file with the keys `before` and cannot with the keys `after`; `None` where
/// everybody still can.
///
/// Exact but for so many groups that it would take long: then it is on the safe side, as a data key
/// that is renewed in vain harms nobody. Where a target of several groups has no threshold, `after` needs
/// all of them; of `before` nobody knows how many were, so that two count as enough.
pub fn lost_access(before: &KeyTarget, after: &KeyTarget) -> Option<LostAccess> {
    let readers = match Access::between(before, after) {
        Some(access) => {
            let sets = access.lost(&mut Work(MAX_WORK))?;
            let key = |holder: &usize| access.holders[*holder].key.clone();
            let keys = |set: &Vec<usize>| set.iter().map(key).collect();
            sets.iter().map(keys).collect()
        }
        // No data key can be split so often.
        None if before == after => return None,
        None => Vec::new(),
    };
    Some(LostAccess { readers })
}

/// The holders of the keys that a file had.
struct Access<'k> {
    holders: Vec<Holder<'k>>,
    /// How many groups were needed, and how many will be.
    needed: (usize, usize),
    /// How many groups there will be.
    groups: usize,
    /// Whether every group keeps its place and its keys.
    groups_stay: bool,
}

/// One key, by the groups that it was in and those it will be in.
struct Holder<'k> {
    key: &'k KeySpec,
    before: Groups,
    after: Groups,
}

impl<'k> Access<'k> {
    /// Returns `None` where there are more groups than shares can be.
    fn between(before: &'k KeyTarget, after: &KeyTarget) -> Option<Self> {
        if before.groups.len().max(after.groups.len()) > MAX_SHARES {
            return None;
        }
        let mut holders: Vec<Holder<'k>> = Vec::new();
        let mut known = KeyMap::default();
        for (number, group) in before.groups.iter().enumerate() {
            for key in group {
                let holder = known.first(key).unwrap_or_else(|| {
                    known.insert(key, holders.len());
                    holders.push(Holder {
                        key,
                        before: Groups::default(),
                        after: Groups::default(),
                    });
                    holders.len() - 1
                });
                holders[holder].before.insert(number);
            }
        }
        let mut later = KeyMap::default();
        for (number, group) in after.groups.iter().enumerate() {
            group.iter().for_each(|key| later.insert(key, number));
        }
        for holder in &mut holders {
            for number in later.numbers(holder.key) {
                holder.after.insert(number);
            }
        }
        let groups_stay = holders
            .iter()
            .all(|holder| holder.before.is_within(&holder.after));
        Some(Self {
            holders,
            needed: (needed(before, 2), needed(after, after.groups.len())),
            groups: after.groups.len(),
            groups_stay,
        })
    }

    /// Returns sets of holders, each a minimal one, that opened the file and no longer do: as many as the
    /// work lets find.
    fn lost(&self, work: &mut Work) -> Option<Vec<Vec<usize>>> {
        let (needed, need) = self.needed;
        if self.groups_stay && need <= needed {
            return None;
        }
        let all = 0..self.holders.len();
        let (alone, others): (Vec<usize>, Vec<usize>) = all.partition(|number| {
            let holder = &self.holders[*number];
            holder.before.len() >= needed && holder.after.len() < need
        });
        let mut together = Vec::new();
        let found_out = self.together(&others, &mut together, work).is_some();
        together.truncate(MAX_TOLD);
        let alone = alone.into_iter().map(|holder| vec![holder]);
        let lost: Vec<Vec<usize>> = alone.chain(together).collect();
        Some(lost).filter(|lost| !lost.is_empty() || !found_out)
    }

    /// Finds sets of several holders; `None` where there is more work than may be done.
    fn together(
        &self,
        others: &[usize],
        found: &mut Vec<Vec<usize>>,
        work: &mut Work,
    ) -> Option<()> {
        // A set of holders fails if it has keys of too few groups: then all of its groups are among some
        // `need - 1`. So whoever has keys in these groups alone is tried, all at once, for each choice.
        let count = self.needed.1.saturating_sub(1).min(self.groups);
        let mut choice = Choice::first(self.groups, count);
        loop {
            work.spend(1 + others.len())?;
            let mut within = Groups::default();
            choice.0.iter().for_each(|group| within.insert(*group));
            let is_within = |holder: &&usize| self.holders[**holder].after.is_within(&within);
            let set: Vec<usize> = others.iter().filter(is_within).copied().collect();
            if self.opened(&set) {
                self.minimal_sets(&set, found, work)?;
            }
            if found.len() >= MAX_TOLD || !choice.next(self.groups) {
                return Some(());
            }
        }
    }

    /// Returns whether these holders could open the file together.
    fn opened(&self, set: &[usize]) -> bool {
        let mut groups = Groups::default();
        set.iter()
            .for_each(|holder| groups.extend(&self.holders[*holder].before));
        groups.len() >= self.needed.0
    }

    /// Finds minimal sets out of one that opened the file: for each holder one that needs him, if that
    /// is easily found. At least one.
    fn minimal_sets(
        &self,
        set: &[usize],
        found: &mut Vec<Vec<usize>>,
        work: &mut Work,
    ) -> Option<()> {
        let mut none = true;
        let mut add = |told: Vec<usize>| {
            if !found.contains(&told) {
                found.push(told);
            }
        };
        let mut some = BTreeSet::new();
        for holder in set.iter().take(MAX_TRIED) {
            work.spend(set.len())?;
            let mut chosen = vec![*holder];
            let mut groups = self.holders[*holder].before;
            for other in set.iter().filter(|other| *other != holder) {
                if groups.len() >= self.needed.0 {
                    break;
                }
                let before = &self.holders[*other].before;
                if !before.is_within(&groups) {
                    groups.extend(before);
                    chosen.push(*other);
                }
            }
            // He comes last: if the others do without him, this is no set of his.
            chosen.rotate_left(1);
            let chosen = self.minimal(chosen, work)?;
            if chosen.contains(holder) {
                none = false;
                some.insert(chosen);
            }
        }
        some.into_iter().for_each(&mut add);
        if none {
            add(self.minimal(set.to_vec(), work)?);
        }
        Some(())
    }

    /// Leaves out whom the others can do without.
    fn minimal(&self, mut set: Vec<usize>, work: &mut Work) -> Option<Vec<usize>> {
        // How many of the set have a key of each group.
        let mut keys = vec![0_usize; MAX_SHARES];
        let groups = |holder: &usize| self.holders[*holder].before.numbers();
        work.spend(
            set.iter()
                .map(|holder| 1 + self.holders[*holder].before.len())
                .sum(),
        )?;
        for group in set.iter().flat_map(groups) {
            keys[group] += 1;
        }
        let mut open = keys.iter().filter(|keys| **keys > 0).count();
        set.retain(|holder| {
            let only_his = groups(holder).filter(|group| keys[*group] == 1).count();
            let is_needed = open - only_his < self.needed.0;
            if !is_needed {
                open -= only_his;
                groups(holder).for_each(|group| keys[group] -= 1);
            }
            is_needed
        });
        set.sort_unstable();
        Some(set)
    }
}

/// How many looks at a key may still be taken.
struct Work(usize);

impl Work {
    fn spend(&mut self, looks: usize) -> Option<()> {
        self.0 = self.0.checked_sub(looks)?;
        Some(())
    }
}

/// Some of at most [`MAX_SHARES`] groups.
#[derive(Clone, Copy, Default)]
struct Groups([u64; 4]);

impl Groups {
    fn insert(&mut self, group: usize) {
        self.0[group / 64] |= 1 << (group % 64);
    }

    fn extend(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine |= theirs;
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        let mut words = self.0.iter().zip(other.0);
        words.all(|(mine, theirs)| mine & !theirs == 0)
    }

    fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    fn numbers(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(word, mut bits)| {
            std::iter::from_fn(move || {
                let bit = (bits != 0).then(|| bits.trailing_zeros() as usize)?;
                bits &= bits - 1;
                Some(word * 64 + bit)
            })
        })
    }
}

/// Returns how many groups are needed to open a file: of several groups without a threshold, `absent`.
fn needed(target: &KeyTarget, absent: usize) -> usize {
    match (target.groups.len(), target.threshold.unwrap_or(0)) {
        (0 | 1, _) => 1,
        // A file that lost its threshold opens with any shares that fit (`data_key::recover`).
        (_, 0) => absent.max(2),
        // A share alone is never enough.
        (_, threshold) => threshold.max(2),
    }
}

/// Some of the first numbers, in ascending order.
struct Choice(Vec<usize>);

impl Choice {
    fn first(of: usize, count: usize) -> Self {
        Self((0..count.min(of)).collect())
    }

    /// Goes on to the next choice of as many; returns whether there is one.
    fn next(&mut self, of: usize) -> bool {
        let count = self.0.len();
        let Some(at) = (0..count).rev().find(|at| self.0[*at] < of - count + at) else {
            return false;
        };
        let first = self.0[at] + 1;
        for (place, number) in self.0[at..].iter_mut().zip(first..) {
            *place = number;
        }
        true
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
