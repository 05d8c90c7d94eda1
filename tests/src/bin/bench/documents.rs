//! What is encrypted: generated, the same in every run.
//!
//! Written piece by piece: a child process is charged with the highest memory that this process ever had.

use std::io::{Result, Write};

/// The value of a number: 20 digits that look like nothing else.
fn value(number: u128) -> String {
    format!("value-{:020x}", 0x9e37_79b9_7f4a_7c15 * (number + 1))
}

/// A Secret of 1 KB with 22 values, as in sops-cli.md 3.
pub(crate) fn secret(file: &mut dyn Write) -> Result<()> {
    file.write_all(b"apiVersion: v1\nkind: Secret\nmetadata:\n  name: database\n  namespace: production\ntype: Opaque\nstringData:\n")?;
    (0..22).try_for_each(|i| writeln!(file, "  setting-{i:02}: {}", value(i)))
}

pub(crate) fn yaml(file: &mut dyn Write, keys: u128) -> Result<()> {
    writeln!(file, "data:")?;
    (0..keys).try_for_each(|i| writeln!(file, "  key-{i:06}: {}", value(i)))
}

pub(crate) fn json(file: &mut dyn Write, keys: u128) -> Result<()> {
    write!(file, "{{\n\t\"data\": {{")?;
    for i in 0..keys {
        let comma = if i == 0 { "" } else { "," };
        write!(file, "{comma}\n\t\t\"key-{i:06}\": \"{}\"", value(i))?;
    }
    writeln!(file, "\n\t}}\n}}")
}

pub(crate) fn dotenv(file: &mut dyn Write, keys: u128) -> Result<()> {
    (0..keys).try_for_each(|i| writeln!(file, "KEY_{i:06}={}", value(i)))
}

pub(crate) fn ini(file: &mut dyn Write, keys: u128) -> Result<()> {
    writeln!(file, "[data]")?;
    (0..keys).try_for_each(|i| writeln!(file, "key-{i:06} = {}", value(i)))
}

/// 20 MiB that are no text (xorshift64).
pub(crate) fn binary(file: &mut dyn Write) -> Result<()> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..(20 << 20) / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        file.write_all(&state.to_le_bytes())?;
    }
    Ok(())
}
