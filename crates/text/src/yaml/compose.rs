use super::{Limits, ParseError, Stream};
pub(super) fn compose<'s>(source: &'s str, limits: &Limits) -> Result<Stream<'s>, ParseError> { unimplemented!("{}{:?}", source, limits) }
