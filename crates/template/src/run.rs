//! One rendering: what it was given, what it has used up, and what it has to clear at its end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use selkie_goregex::GoRegex;
use zeroize::Zeroizing;

use crate::error::Failure;
use crate::limits::{Limit, Limits};
use crate::value::{Entries, Map, MapElement, Str};

/// What a template gets from outside. The crate itself reads no clock, no environment and no random source (but see
/// [`random`](Self::random)).
pub struct Env<'e> {
    /// The time, for `now`, `ago`, `date` and new certificates.
    pub now: &'e dyn Fn() -> Timestamp,
    /// Whether the time for this rendering is over. Asked every few hundred steps and before every slow function.
    pub expired: &'e dyn Fn() -> bool,
    /// Fills bytes from a cryptographic random source. New RSA and EC keys come from aws-lc, which has one of its own.
    pub random: &'e mut dyn FnMut(&mut [u8]),
    /// What Go's `Local` is: the time zone of the process.
    pub local: TimeZone,
    /// The time zones that a template may name; a name that is not there means UTC, as in sprig.
    pub zones: TimeZoneDatabase,
}

/// So many steps pass between two looks at the clock.
const STEPS_PER_LOOK: u64 = 256;

pub(crate) struct Run<'r, 'e> {
    pub(crate) env: &'r mut Env<'e>,
    pub(crate) limits: &'r Limits,
    steps: u64,
    work: u64,
    next_look: u64,
    /// Every map that was made: maps can hold each other, so they are emptied at the end.
    maps: Vec<Rc<RefCell<Entries>>>,
    /// The regular expressions that were compiled, by pattern.
    pub(crate) regexes: BTreeMap<Str, Rc<GoRegex>>,
}

impl<'r, 'e> Run<'r, 'e> {
    pub(crate) fn new(env: &'r mut Env<'e>, limits: &'r Limits) -> Self {
        Self {
            env,
            limits,
            steps: 0,
            work: 0,
            next_look: 0,
            maps: Vec::new(),
            regexes: BTreeMap::new(),
        }
    }

    /// Counts steps.
    pub(crate) fn step(&mut self, steps: usize) -> Result<(), Failure> {
        self.steps = self.steps.saturating_add(steps as u64);
        if self.steps > self.limits.steps {
            return Err(Limit::Steps.into());
        }
        if self.steps >= self.next_look {
            self.next_look = self.steps + STEPS_PER_LOOK;
            return self.look();
        }
        Ok(())
    }

    /// Looks at the clock, for a function that takes long.
    pub(crate) fn look(&self) -> Result<(), Failure> {
        if (self.env.expired)() {
            return Err(Limit::Time.into());
        }
        Ok(())
    }

    /// Counts bytes that a function makes; call it before making many.
    pub(crate) fn work(&mut self, bytes: usize) -> Result<(), Failure> {
        self.work = self.work.saturating_add(bytes as u64);
        if self.work > self.limits.work {
            return Err(Limit::Work.into());
        }
        Ok(())
    }

    /// A buffer for as many bytes as may still be made.
    pub(crate) fn buffer(&self) -> Buffer {
        let left = self.limits.work.saturating_sub(self.work);
        Buffer::new(
            usize::try_from(left).unwrap_or(usize::MAX),
            Limit::Work,
            self.limits.depth,
        )
    }

    /// Takes what was written into a buffer.
    pub(crate) fn finish(&mut self, buffer: Buffer) -> Result<Str, Failure> {
        let bytes = buffer.into_bytes()?;
        self.work(bytes.len())?;
        Ok(bytes.into())
    }

    /// Makes a `map[string]interface{}`.
    pub(crate) fn map(&mut self, entries: Entries) -> Result<Map, Failure> {
        self.typed_map(MapElement::Any, entries)
    }

    pub(crate) fn typed_map(
        &mut self,
        element: MapElement,
        entries: Entries,
    ) -> Result<Map, Failure> {
        self.work(ENTRY_SIZE * (entries.len() + 1))?;
        let entries = Rc::new(RefCell::new(entries));
        self.maps.push(Rc::clone(&entries));
        Ok(Map {
            element,
            entries: Some(entries),
        })
    }
}

/// What an element of a list or a map counts as, in bytes.
pub(crate) const ENTRY_SIZE: usize = 64;

impl Drop for Run<'_, '_> {
    /// Breaks the circles between maps, and drops without going deep.
    fn drop(&mut self) {
        for map in &self.maps {
            if let Ok(mut entries) = map.try_borrow_mut() {
                entries.clear();
            }
        }
    }
}

/// Bytes being written, up to a limit; cleared when dropped, also where it grew.
pub(crate) struct Buffer {
    bytes: Zeroizing<Vec<u8>>,
    limit: usize,
    over: Option<Limit>,
    what: Limit,
    max_depth: u32,
}

impl Buffer {
    pub(crate) fn new(limit: usize, what: Limit, max_depth: u32) -> Self {
        Self {
            bytes: Zeroizing::default(),
            limit,
            over: None,
            what,
            max_depth,
        }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if self.over.is_some() {
            return;
        }
        let length = self.bytes.len() + bytes.len();
        if length > self.limit {
            self.over = Some(self.what);
            return;
        }
        if length > self.bytes.capacity() {
            // Growing in place would leave the old bytes in memory.
            let capacity = length.max(self.bytes.capacity() * 2).max(64);
            let mut grown = Zeroizing::new(Vec::with_capacity(capacity));
            grown.extend_from_slice(&self.bytes);
            self.bytes = grown;
        }
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn write_str(&mut self, text: &str) {
        self.write(text.as_bytes());
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.write(&[byte]);
    }

    /// Writes a byte many times.
    pub(crate) fn repeat(&mut self, byte: u8, times: usize) {
        const PIECE: usize = 256;
        let piece = [byte; PIECE];
        let mut left = times;
        while left > 0 && !self.is_over() {
            let now = left.min(PIECE);
            self.write(&piece[..now]);
            left -= now;
        }
    }

    /// Whether nothing more can be written: walkers end early then.
    pub(crate) fn is_over(&self) -> bool {
        self.over.is_some()
    }

    /// Whether a value may be walked at this depth; if not, the buffer is over.
    pub(crate) fn enter(&mut self, depth: u32) -> bool {
        if depth > self.max_depth {
            self.over = Some(Limit::Depth);
        }
        !self.is_over()
    }

    pub(crate) fn into_bytes(self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        match self.over {
            Some(limit) => Err(limit.into()),
            None => Ok(self.bytes),
        }
    }

    pub(crate) fn failed(&self) -> Result<(), Failure> {
        self.over.map_or(Ok(()), |limit| Err(limit.into()))
    }
}
