//! Who can open a file together, and who no longer can when its keys change (sops-format.md 10).
//!
//! Holders of keys open a file when they have a key of as many groups as the threshold says. Whoever
//! could open it may have kept the data key: unless he still can, it has to be a new one.

use std::collections::BTreeSet;

use crate::key_spec::KeySpec;
use crate::rekey::{KeyTarget, same};

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
/// As much work is done to find out (choices of groups, times keys); beyond, access counts as lost.
const MAX_WORK: usize = 400_000;

/// Returns who could open a file with the keys `before` and cannot with the keys `after`; `None` where
/// everybody still can.
///
/// Exact but for so many groups that it would take long: then it is on the safe side, as a data key
/// that is renewed in vain harms nobody. Where a target of several groups has no threshold, `after` needs
/// all of them; of `before` nobody knows how many were, so that two count as enough.
pub fn lost_access(before: &KeyTarget, after: &KeyTarget) -> Option<LostAccess> {
    let access = Access::between(before, after);
    let sets = access.lost(MAX_WORK)?;
    let key = |holder: &usize| access.holders[*holder].key.clone();
    Some(LostAccess {
        readers: sets
            .iter()
            .map(|set| set.iter().map(key).collect())
            .collect(),
    })
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
    before: BTreeSet<usize>,
    after: BTreeSet<usize>,
}

impl<'k> Access<'k> {
    fn between(before: &'k KeyTarget, after: &KeyTarget) -> Self {
        let mut holders: Vec<Holder<'k>> = Vec::new();
        for (number, group) in before.groups.iter().enumerate() {
            for key in group {
                match holders.iter_mut().find(|holder| same(holder.key, key)) {
                    Some(holder) => {
                        holder.before.insert(number);
                    }
                    None => holders.push(Holder {
                        key,
                        before: BTreeSet::from([number]),
                        after: BTreeSet::new(),
                    }),
                }
            }
        }
        for holder in &mut holders {
            let groups = after.groups.iter().enumerate();
            let mine = groups.filter(|(_, group)| group.iter().any(|key| same(holder.key, key)));
            holder.after = mine.map(|(number, _)| number).collect();
        }
        let groups_stay = holders
            .iter()
            .all(|holder| holder.before.is_subset(&holder.after));
        Self {
            holders,
            needed: (needed(before, 2), needed(after, after.groups.len())),
            groups: after.groups.len(),
            groups_stay,
        }
    }

    /// Returns sets of holders, each a minimal one, that opened the file and no longer do.
    fn lost(&self, most: usize) -> Option<Vec<Vec<usize>>> {
        let (needed, need) = self.needed;
        if self.groups_stay && need <= needed {
            return None;
        }
        let all = 0..self.holders.len();
        let (alone, others): (Vec<usize>, Vec<usize>) = all.partition(|number| {
            let holder = &self.holders[*number];
            holder.before.len() >= needed && holder.after.len() < need
        });
        let mut lost: Vec<Vec<usize>> = alone.into_iter().map(|holder| vec![holder]).collect();
        // A set of holders fails if it has keys of too few groups: then all of its groups are among some
        // `need - 1`. So whoever has keys in these groups alone is tried, all at once, for each choice.
        let count = need.saturating_sub(1).min(self.groups);
        if choices(self.groups, count).saturating_mul(others.len().max(1)) > most {
            return Some(lost);
        }
        let alone = lost.len();
        let mut choice = Choice::first(self.groups, count);
        loop {
            let within = |holder: &usize| {
                let mut groups = self.holders[*holder].after.iter();
                groups.all(|group| choice.0.binary_search(group).is_ok())
            };
            let set: Vec<usize> = others.iter().copied().filter(within).collect();
            if self.opened(&set) {
                for told in self.minimal_sets(&set) {
                    if !lost.contains(&told) {
                        lost.push(told);
                    }
                }
            }
            if lost.len() - alone >= MAX_TOLD || !choice.next(self.groups) {
                break;
            }
        }
        lost.truncate(alone + MAX_TOLD);
        Some(lost).filter(|lost| !lost.is_empty())
    }

    /// Returns whether these holders could open the file together.
    fn opened(&self, set: &[usize]) -> bool {
        let groups: BTreeSet<usize> = set
            .iter()
            .flat_map(|holder| &self.holders[*holder].before)
            .copied()
            .collect();
        groups.len() >= self.needed.0
    }

    /// Returns minimal sets out of one that opened the file: for each holder one that needs him, if that
    /// is easily found. At least one.
    fn minimal_sets(&self, set: &[usize]) -> BTreeSet<Vec<usize>> {
        let mut found = BTreeSet::new();
        for holder in set.iter().take(MAX_TRIED) {
            let mut chosen = vec![*holder];
            let mut groups = self.holders[*holder].before.clone();
            for other in set.iter().filter(|other| *other != holder) {
                if groups.len() >= self.needed.0 {
                    break;
                }
                let before = &self.holders[*other].before;
                if !before.is_subset(&groups) {
                    groups.extend(before);
                    chosen.push(*other);
                }
            }
            // He comes last: if the others do without him, this is no set of his.
            chosen.rotate_left(1);
            let chosen = self.minimal(chosen);
            if chosen.contains(holder) {
                found.insert(chosen);
            }
        }
        if found.is_empty() {
            found.insert(self.minimal(set.to_vec()));
        }
        found
    }

    /// Leaves out whom the others can do without.
    fn minimal(&self, mut set: Vec<usize>) -> Vec<usize> {
        let mut at = 0;
        while at < set.len() {
            let holder = set.remove(at);
            if !self.opened(&set) {
                set.insert(at, holder);
                at += 1;
            }
        }
        set.sort_unstable();
        set
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

/// Returns in how many ways `count` of `of` can be chosen, at most `usize::MAX`.
fn choices(of: usize, count: usize) -> usize {
    let count = count.min(of - count);
    let ways = (0..count).try_fold(1_usize, |ways, taken| {
        // Exact: the product of so many neighbours is divisible.
        Some(ways.checked_mul(of - taken)? / (taken + 1))
    });
    ways.unwrap_or(usize::MAX)
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
