//! Secret backends behind one trait
