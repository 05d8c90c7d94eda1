//! Bringing the untouched lines of an encrypted file into its successor.
//!
//! A file is decrypted, changed and encrypted again. Where nothing was changed, the bytes of the
//! first file stand for the same clear lines as those of the second, but may be laid out otherwise
//! (sops writes comments of lists as elements and blocks on one line). The first are better: a diff
//! then shows what was changed and nothing else.

use std::collections::HashMap;
use std::ops::Range;

use selkie_text::yaml::Edits;

/// Whole lines of a clear text and of the encrypted one, of the same content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) plain: Range<usize>,
    pub(crate) encrypted: Range<usize>,
}

/// Places that are the beginning of a line, or the end, both before and after some edits.
pub(crate) type Borders = Vec<(usize, usize)>;

/// Returns the borders that edits of `source` leave, as (place before, place after), in order.
pub(crate) fn borders(source: &str, edits: &Edits, result: &str) -> Borders {
    let at_line = |text: &str, at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
    let mut borders = vec![(0, 0)];
    let mut push = |before: usize, after: usize| {
        if at_line(source, before)
            && at_line(result, after)
            && borders.last() != Some(&(before, after))
        {
            borders.push((before, after));
        }
    };
    let (mut before, mut after) = (0, 0);
    let mut kept = |until: usize, before: &mut usize, after: &mut usize| {
        push(*before, *after);
        for (at, _) in source[*before..until].match_indices('\n') {
            push(*before + at + 1, *after + at + 1);
        }
        *after += until - *before;
        *before = until;
        push(*before, *after);
    };
    for (span, text) in edits.pieces() {
        kept(span.start, &mut before, &mut after);
        before = span.end;
        after += text.len();
    }
    kept(source.len(), &mut before, &mut after);
    let end = (source.len(), result.len());
    if borders.last() != Some(&end) {
        borders.push(end);
    }
    borders
}

/// Returns the borders of two steps, one after the other.
pub(crate) fn through(first: &Borders, second: &Borders) -> Borders {
    let mut all = Borders::new();
    for (before, middle) in first {
        let from = second.partition_point(|(place, _)| place < middle);
        let same = second[from..]
            .iter()
            .take_while(|(place, _)| place == middle);
        all.extend(same.map(|(_, after)| (*before, *after)));
    }
    // An insertion in both steps at one place would give pairs out of order.
    let mut last = 0;
    all.retain(|(_, after)| {
        let in_order = *after >= last;
        last = last.max(*after);
        in_order
    });
    all
}

/// Returns the chunks between borders, given as (plain, encrypted).
pub(crate) fn chunks(borders: &Borders) -> Vec<Chunk> {
    let pairs = borders.windows(2).map(|pair| Chunk {
        plain: pair[0].0..pair[1].0,
        encrypted: pair[0].1..pair[1].1,
    });
    pairs.collect()
}

/// One of the two texts, cut into chunks.
pub(crate) struct Side<'t> {
    pub(crate) plain: &'t str,
    pub(crate) encrypted: &'t str,
    pub(crate) chunks: Vec<Chunk>,
    /// The ciphertexts in the order in which they stand.
    pub(crate) tokens: Vec<Token>,
}

/// A ciphertext of the encrypted text.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Token {
    /// Where it begins.
    pub(crate) at: usize,
    pub(crate) text: String,
    pub(crate) is_comment: bool,
}

impl<'t> Side<'t> {
    fn plain(&self, chunk: &Chunk) -> &'t str {
        &self.plain[chunk.plain.clone()]
    }

    fn tokens(&self, chunk: &Chunk, comments: bool) -> impl Iterator<Item = &str> {
        let from = self
            .tokens
            .partition_point(|token| token.at < chunk.encrypted.start);
        let within = self.tokens[from..].iter();
        within
            .take_while(|token| token.at < chunk.encrypted.end)
            .filter(move |token| comments || !token.is_comment)
            .map(|token| token.text.as_str())
    }
}

/// Returns the new encrypted text, with the old bytes in every chunk that is the same in both and
/// whose ciphertexts are; those of comments count only if `comments` says so.
///
/// A comment may belong to one container in the old layout and to another in the new one.
pub(crate) fn merge(old: &Side<'_>, new: &Side<'_>, comments: bool) -> String {
    let old_chunks: Vec<&Chunk> = old.chunks.iter().filter(|c| !c.plain.is_empty()).collect();
    let new_chunks: Vec<&Chunk> = new.chunks.iter().filter(|c| !c.plain.is_empty()).collect();
    let old_texts: Vec<&str> = old_chunks.iter().map(|chunk| old.plain(chunk)).collect();
    let new_texts: Vec<&str> = new_chunks.iter().map(|chunk| new.plain(chunk)).collect();
    let mut partner = matches(&old_texts, &new_texts).into_iter();
    let mut text = String::with_capacity(new.encrypted.len());
    for chunk in &new.chunks {
        let same = if chunk.plain.is_empty() {
            None
        } else {
            partner.next().flatten()
        };
        let same = same
            .map(|index| old_chunks[index])
            .filter(|same| old.tokens(same, comments).eq(new.tokens(chunk, comments)));
        text.push_str(match same {
            Some(same) => &old.encrypted[same.encrypted.clone()],
            None => &new.encrypted[chunk.encrypted.clone()],
        });
    }
    text
}

/// Returns for every item of `new` its place in `old`, if it was not touched: places only grow.
///
/// Items that are there once in both are the anchors (patience diff); from each the match goes on
/// in both directions as long as the neighbours are equal.
fn matches(old: &[&str], new: &[&str]) -> Vec<Option<usize>> {
    let mut count: HashMap<&str, (usize, usize, usize)> = HashMap::new();
    for (index, text) in old.iter().enumerate() {
        let found = count.entry(text).or_default();
        (found.0, found.2) = (found.0 + 1, index);
    }
    for text in new {
        count.entry(text).or_default().1 += 1;
    }
    let anchors: Vec<(usize, usize)> = new
        .iter()
        .enumerate()
        .filter_map(|(index, text)| match count.get(text) {
            Some((1, 1, place)) => Some((index, *place)),
            _ => None,
        })
        .collect();
    let mut partner = vec![None; new.len()];
    let mut from = (0, 0);
    let ends = longest_growing(&anchors).into_iter().map(Some);
    for anchor in ends.chain([None]) {
        let until = anchor.unwrap_or((new.len(), old.len()));
        let (mut new_end, mut old_end) = until;
        while from.0 < new_end && from.1 < old_end && new[from.0] == old[from.1] {
            partner[from.0] = Some(from.1);
            from = (from.0 + 1, from.1 + 1);
        }
        while from.0 < new_end && from.1 < old_end && new[new_end - 1] == old[old_end - 1] {
            (new_end, old_end) = (new_end - 1, old_end - 1);
            partner[new_end] = Some(old_end);
        }
        if let Some((index, place)) = anchor {
            partner[index] = Some(place);
            from = (index + 1, place + 1);
        }
    }
    partner
}

/// Returns the longest part of the pairs whose second numbers grow (the first ones do).
fn longest_growing(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The last pair of the best part of each length, and what stood before each pair.
    let mut tails: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (index, (_, place)) in pairs.iter().enumerate() {
        let length = tails.partition_point(|tail| pairs[*tail].1 < *place);
        before.push(length.checked_sub(1).map(|shorter| tails[shorter]));
        if length == tails.len() {
            tails.push(index);
        } else {
            tails[length] = index;
        }
    }
    let mut part: Vec<(usize, usize)> =
        std::iter::successors(tails.last().copied(), |index| before[*index])
            .map(|index| pairs[index])
            .collect();
    part.reverse();
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<&str> {
        text.split_inclusive('\n').collect()
    }

    #[test]
    fn untouched_lines_find_their_partner() {
        let old = lines("a\nb\n\nc\n\nd\n");
        let new = lines("a\nx\n\nc\n\nnew\n\nd\n");
        assert_eq!(
            matches(&old, &new),
            [
                Some(0),
                None,
                Some(2),
                Some(3),
                Some(4),
                None,
                None,
                Some(5)
            ]
        );
        assert_eq!(matches(&[], &["a"]), [None]);
        assert_eq!(
            matches(&["a", "b"], &["b", "a"]).iter().flatten().count(),
            1
        );
        // Equal lines only: from both ends.
        assert_eq!(
            matches(&["a"; 3], &["a"; 4]),
            [Some(0), Some(1), Some(2), None]
        );
    }

    #[test]
    fn borders_lie_where_both_texts_begin_a_line() {
        let source = "a: 1\nb: 2\nc: 3\n";
        let mut edits = Edits::new();
        edits.replace(3..4, "X\nY");
        edits.delete(5..10);
        edits.insert(15, "d: 4\n");
        let result = edits.try_apply(source).unwrap();
        assert_eq!(&**result, "a: X\nY\nc: 3\nd: 4\n");
        let found = borders(source, &edits, &result);
        assert_eq!(found, [(0, 0), (5, 7), (10, 7), (15, 12), (15, 17)]);
        assert_eq!(
            through(&found, &found.iter().map(|(_, a)| (*a, *a)).collect())[0],
            (0, 0)
        );
        let chunks = chunks(&found);
        assert_eq!(
            chunks[1],
            Chunk {
                plain: 5..10,
                encrypted: 7..7
            }
        );
    }
}
