//! Reading and writing files so that a file is either the old one or the new one, never half of
//! one (design.md, invariant 6).

use std::borrow::Cow;
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Access, FlockOperation, access, flock};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use selkie_secret::SecretBytes;

use crate::failure::{Failure, Kind};

/// Where a document comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A file, as typed.
    File(PathBuf),
    /// Standard input, under the name that `--filename` gives it.
    Stdin(Option<PathBuf>),
}

impl Source {
    /// Returns the name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::File(path) | Self::Stdin(Some(path)) => path.display().to_string(),
            Self::Stdin(None) => "standard input".to_owned(),
        }
    }

    /// Returns the path that rules and the format are chosen by.
    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Stdin(path) => path.as_deref(),
        }
    }
}

/// A document that was read.
pub(crate) struct Input {
    content: SecretBytes,
    /// The file it is, for [`Input::replace`]; `None` for standard input and pipes.
    original: Option<Original>,
}

/// A file as it was when it was read.
struct Original {
    /// Symbolic links resolved.
    path: PathBuf,
    stamp: Stamp,
    /// How many names it has.
    links: u64,
}

/// What changes when somebody else writes a file.
#[derive(PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        }
    }
}

/// Reads a whole document.
pub(crate) fn read(source: &Source) -> Result<Input, Failure> {
    let (bytes, original) = match source {
        Source::File(path) => read_file(path)?,
        Source::Stdin(_) => {
            let bytes = read_all(io::stdin().lock(), 0);
            (bytes.map_err(|error| unreadable(&error))?, None)
        }
    };
    Ok(Input {
        content: bytes,
        original,
    })
}

impl Input {
    /// Returns the bytes, whatever they are.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.content.expose()
    }

    /// Returns the text; it has to be UTF-8.
    pub(crate) fn text(&self) -> Result<&str, Failure> {
        let bytes = self.bytes();
        std::str::from_utf8(bytes).map_err(|_| {
            let failure = match bytes {
                [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "the file is UTF-16",
                _ => "the file is not UTF-8 text",
            };
            Failure::new(Kind::Input, failure).hint("save it as UTF-8")
        })
    }

    /// Refuses what cannot be replaced, before any work is done.
    pub(crate) fn check_replaceable(&self) -> Result<(), Failure> {
        let Some(original) = &self.original else {
            let message = "only a regular file can be changed in place";
            return Err(Failure::new(Kind::Conflict, message).hint("use --stdout or -o FILE"));
        };
        check_writable(&original.path)
    }

    /// Puts `bytes` in the place of the file that was read, keeping its mode and owner.
    ///
    /// Fails, with the file untouched, when somebody else has written it in the meantime.
    pub(crate) fn replace(&self, bytes: &[u8], secrecy: Secrecy) -> Result<(), Failure> {
        self.check_replaceable()?;
        let Some(original) = &self.original else {
            return Ok(());
        };
        let expected = Expected::AsRead(&original.stamp);
        write_atomically(&original.path, bytes, 0o600, &expected, secrecy)
    }

    /// Returns a warning when the file, which was replaced, has other names that keep the old content.
    pub(crate) fn hard_link_warning(&self) -> Option<String> {
        self.other_names("still holds", "still hold")
    }

    /// The same for a file that would be replaced.
    pub(crate) fn hard_link_notice(&self) -> Option<String> {
        self.other_names("would keep", "would keep")
    }

    fn other_names(&self, one: &str, several: &str) -> Option<String> {
        let links = self.original.as_ref()?.links;
        (links > 1).then(|| {
            let others = match links {
                2 => format!("1 other name (hard link), which {one}"),
                _ => format!("{} other names (hard links), which {several}", links - 1),
            };
            format!("the file has {others} the old content")
        })
    }
}

/// Whether what is written may be read by others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Secrecy {
    /// Plaintext: a new file is for its owner alone.
    Clear,
    /// Ciphertext or a certificate: a new file has the usual mode.
    Sealed,
}

/// What has to be at a path when a file is put there.
enum Expected<'s> {
    /// The file that was read.
    AsRead(&'s Stamp),
    /// Nothing.
    Absent,
    /// Whatever is there.
    Any,
}

/// Refuses a path at which no new file can be made, before any work is done.
pub(crate) fn check_new(path: &Path) -> Result<(), Failure> {
    let path = link_target(path)?;
    let folder = folder_of(&path);
    if !folder.is_dir() {
        return Err(no_folder(folder));
    }
    access(folder, Access::WRITE_OK).map_err(|error| {
        let folder = folder.display();
        let cause = plain(&error.into());
        Failure::new(
            Kind::Output,
            format!("no file can be made in {folder}: {cause}"),
        )
    })
}

/// Makes a new file of the usual mode; never replaces one that has appeared meanwhile.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let path = link_target(path)?;
    write_atomically(&path, bytes, 0o666, &Expected::Absent, Secrecy::Sealed)
}

/// Writes a file, new or in the place of another one, which keeps its mode and owner.
pub(crate) fn write(path: &Path, bytes: &[u8], secrecy: Secrecy) -> Result<(), Failure> {
    let mode = match secrecy {
        Secrecy::Clear => 0o600,
        Secrecy::Sealed => 0o666,
    };
    let path = match fs::canonicalize(path) {
        Ok(existing) => {
            if !existing.is_file() {
                let message = format!("{} is not a regular file", path.display());
                return Err(Failure::new(Kind::Output, message).hint("give -o a file name"));
            }
            check_writable(&existing)?;
            existing
        }
        Err(_) => link_target(path)?,
    };
    write_atomically(&path, bytes, mode, &Expected::Any, secrecy)
}

/// Follows links to the name that they give a file that is not there yet, so that the file is made
/// where the link points and the link stays.
fn link_target(path: &Path) -> Result<PathBuf, Failure> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(target) = fs::read_link(&path) else {
            return Ok(path);
        };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    Err(
        Failure::new(Kind::Output, "the path is a circle of symbolic links")
            .hint("give -o a file name"),
    )
}

/// As many as Linux follows.
const MAX_LINKS: usize = 40;

/// Makes a new file for its owner alone; never replaces one.
pub(crate) fn create_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Failure::new(
                Kind::Output,
                "the file exists already and is not overwritten",
            )
            .hint("choose another name; a key that is lost cannot be made again"),
            io::ErrorKind::NotFound => no_folder(path.parent().unwrap_or(path)),
            _ => unwritable(&error),
        })?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| sync_folder(path)).map_err(|error| {
        let _ = fs::remove_file(path);
        unwritable(&error)
    })
}

fn read_file(path: &Path) -> Result<(SecretBytes, Option<Original>), Failure> {
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::new(Kind::NoFile, "no such file"),
        _ => unreadable(&error),
    })?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if metadata.is_dir() {
        return Err(
            Failure::new(Kind::NoFile, "this is a directory, not a file")
                .hint("name the files in it, for example with a pattern such as DIR/*.yaml"),
        );
    }
    // Beside the file itself, not beside a link to it.
    let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    check_whole(&real)?;
    let bytes = read_all(&mut file, metadata.len()).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Ok((bytes, None));
    }
    let original = Original {
        path: real,
        stamp: Stamp::of(&metadata),
        links: metadata.nlink(),
    };
    Ok((bytes, Some(original)))
}

/// Reads to the end into one buffer of the expected length, so that no partial copies of a secret
/// are left behind by a buffer that grows.
fn read_all(mut reader: impl io::Read, expected: u64) -> io::Result<SecretBytes> {
    let mut bytes = zeroize::Zeroizing::new(Vec::new());
    bytes.reserve_exact(usize::try_from(expected).unwrap_or_default() + 1);
    loop {
        let room = bytes.capacity() - bytes.len();
        if room == 0 {
            let mut larger = zeroize::Zeroizing::new(Vec::with_capacity(bytes.len() * 2 + 65_536));
            larger.extend_from_slice(&bytes);
            bytes = larger;
            continue;
        }
        let room = room as u64;
        if reader.by_ref().take(room).read_to_end(&mut bytes)? == 0 {
            return Ok(SecretBytes::new(std::mem::take(&mut *bytes)));
        }
    }
}

/// Refuses a file that the user may not write: renaming another file over it would need no
/// permission on the file itself, only on its folder.
fn check_writable(path: &Path) -> Result<(), Failure> {
    access(path, Access::WRITE_OK).map_err(|error| {
        Failure::new(
            Kind::Output,
            format!("the file cannot be written: {}", plain(&error.into())),
        )
        .hint("change its permissions, or use --stdout or -o FILE")
    })
}

/// Writes beside the file, flushes to the disk, and renames: at every moment `path` is whole.
fn write_atomically(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    expected: &Expected<'_>,
    secrecy: Secrecy,
) -> Result<(), Failure> {
    // Beyond the limit the kernel would end the process with a signal, in the middle of the file.
    let limit = getrlimit(Resource::Fsize).current;
    if limit.is_some_and(|limit| bytes.len() as u64 > limit) {
        let message = format!(
            "the file would have {} bytes, more than the limit on file sizes allows",
            bytes.len()
        );
        return Err(Failure::new(Kind::Output, message).hint("raise it: ulimit -f unlimited"));
    }
    let Some(name) = path.file_name() else {
        return Err(Failure::new(Kind::Output, "the path names no file"));
    };
    let folder = folder_of(path);
    let old = fs::metadata(path).ok();
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let creation = if old.is_some() { 0o600 } else { mode };
    let mut temporary = tempfile::Builder::new()
        .prefix(&prefix)
        .suffix(TEMPORARY_SUFFIX)
        .permissions(Permissions::from_mode(creation))
        .tempfile_in(folder)
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no_folder(folder),
            _ => Failure::new(
                Kind::Output,
                format!(
                    "no file can be made in {}: {}",
                    folder.display(),
                    plain(&error)
                ),
            ),
        })?;
    // Tells a run that tidies up that this one is not left over.
    let _ = flock(
        temporary.as_file(),
        FlockOperation::NonBlockingLockExclusive,
    );
    if let Some(old) = &old {
        keep_owner_and_mode(temporary.as_file(), old)?;
    }
    // From here on a failure drops `temporary`, which removes it.
    temporary
        .write_all(bytes)
        .map_err(|error| unwritable(&error))?;
    temporary
        .as_file()
        .sync_all()
        .map_err(|error| unwritable(&error))?;
    // From the check to the rename nobody else who asks may come between.
    let lock = lock(folder)?;
    expected.check(fs::metadata(path).ok().as_ref())?;
    let persisted = match expected {
        Expected::Absent => temporary.persist_noclobber(path),
        _ => temporary.persist(path),
    };
    drop(lock);
    match persisted {
        Ok(_) => sync_folder(path).map_err(|error| unwritable(&error)),
        Err(error) if is_mount(&error.error) => rewrite(path, bytes, expected, secrecy),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Err(appeared()),
        Err(error) => Err(unwritable(&error.error)),
    }
}

impl Expected<'_> {
    fn check(&self, now: Option<&Metadata>) -> Result<(), Failure> {
        match (self, now) {
            (Expected::AsRead(read), now) if now.map(Stamp::of).as_ref() != Some(*read) => Err(
                Failure::new(Kind::Output, "somebody else changed the file meanwhile")
                    .hint("nothing was written; run the command again"),
            ),
            (Expected::Absent, Some(_)) => Err(appeared()),
            _ => Ok(()),
        }
    }
}

fn appeared() -> Failure {
    let message = "somebody else made the file meanwhile";
    Failure::new(Kind::Output, message).hint("nothing was written; run the command again")
}

/// Locks a folder or a file against other runs until the result is dropped. Nothing where the system
/// cannot lock, or where a folder may not be read.
fn lock(path: &Path) -> Result<Option<File>, Failure> {
    let Ok(file) = File::open(path) else {
        return Ok(None);
    };
    let end = Instant::now() + LOCK_LIMIT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(file)),
            Err(Errno::WOULDBLOCK) if Instant::now() < end => thread::sleep(LOCK_PAUSE),
            Err(Errno::WOULDBLOCK) => {
                let message = format!("another program holds a lock on {}", path.display());
                return Err(Failure::new(Kind::Output, message)
                    .hint("nothing was written; run the command again when it has ended"));
            }
            Err(_) => return Ok(None),
        }
    }
}

/// Other runs hold a lock for a rename, or while they write one mounted file.
const LOCK_LIMIT: Duration = Duration::from_secs(30);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn no_folder(folder: &Path) -> Failure {
    let message = format!("the folder {} does not exist", folder.display());
    Failure::new(Kind::Output, message).hint(format!("mkdir -p {}", typed(folder)))
}

/// A file that is mounted by itself, as into a container, cannot be renamed over.
fn is_mount(error: &io::Error) -> bool {
    let number = error.raw_os_error();
    number == Some(Errno::BUSY.raw_os_error()) || number == Some(Errno::XDEV.raw_os_error())
}

/// Writes over a file where it stands. Until that is done a copy lies beside it, of the new content,
/// or of the old one where the new one is clear: it never holds what was to be hidden.
fn rewrite(
    path: &Path,
    bytes: &[u8],
    expected: &Expected<'_>,
    secrecy: Secrecy,
) -> Result<(), Failure> {
    let lock = lock(path)?;
    expected.check(fs::metadata(path).ok().as_ref())?;
    let recovery = recovery_of(path);
    let kept = match secrecy {
        Secrecy::Sealed => None,
        Secrecy::Clear => {
            let kept = fs::read(path).map_err(|error| unwritable(&error))?;
            Some(SecretBytes::new(kept))
        }
    };
    let copy = kept.as_ref().map_or(bytes, SecretBytes::expose);
    let mut file = File::create_new(&recovery).map_err(|error| unwritable(&error))?;
    let written = file.write_all(copy).and_then(|()| file.sync_all());
    let written = written.and_then(|()| sync_folder(&recovery));
    if let Err(error) = written {
        let _ = fs::remove_file(&recovery);
        return Err(unwritable(&error));
    }
    let over = || -> io::Result<()> {
        let mut file = File::options().write(true).open(path)?;
        file.write_all(bytes)?;
        file.set_len(bytes.len() as u64)?;
        file.sync_all()
    };
    if let Err(error) = over() {
        let message = format!("only a part of the file was written: {}", plain(&error));
        return Err(Failure::new(Kind::Output, message).hint(put_back(&recovery, path)));
    }
    drop(lock);
    let removed = fs::remove_file(&recovery).and_then(|()| sync_folder(path));
    removed.map_err(|error| {
        let message = format!(
            "the file is written, but the copy {} cannot be removed: {}",
            recovery.display(),
            plain(&error)
        );
        Failure::new(Kind::Output, message).hint(format!("rm {}", typed(&recovery)))
    })
}

/// How to get a file back whose last write was cut off.
fn put_back(recovery: &Path, path: &Path) -> String {
    let (recovery, path) = (typed(recovery), typed(path));
    format!(
        "a whole copy is in {recovery}; put it back:\n\
         cat {recovery} > {path} && rm {recovery}"
    )
}

/// Returns a path as it is typed in a shell.
fn typed(path: &Path) -> String {
    let text = path.to_string_lossy().into_owned();
    shlex::try_quote(&text).map_or(text.clone(), Cow::into_owned)
}

/// The copy that lies beside a file while it is written over.
fn recovery_of(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(RECOVERY_SUFFIX);
    path.with_file_name(name)
}

/// Refuses a file whose last write was cut off: what is in it may be half of it.
fn check_whole(path: &Path) -> Result<(), Failure> {
    let recovery = recovery_of(path);
    if !recovery.exists() {
        return Ok(());
    }
    let message = "the last write of this file was cut off";
    Err(Failure::new(Kind::Input, message).hint(put_back(&recovery, path)))
}

fn keep_owner_and_mode(file: &File, old: &Metadata) -> Result<(), Failure> {
    let new = file.metadata().map_err(|error| unwritable(&error))?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        fchown(file, Some(old.uid()), Some(old.gid())).map_err(|error| {
            let message = format!(
                "the file belongs to user {} and group {}, which cannot be kept: {}",
                old.uid(),
                old.gid(),
                plain(&error)
            );
            Failure::new(Kind::Output, message).hint("run as its owner, or use --stdout or -o FILE")
        })?;
    }
    // After the owner: changing it clears the set-id bits.
    file.set_permissions(Permissions::from_mode(old.mode() & 0o7777))
        .map_err(|error| unwritable(&error))
}

/// Makes the rename itself durable. Some file systems cannot; the content is safe all the same.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    match File::open(folder.unwrap_or(Path::new("."))) {
        Ok(folder) => match folder.sync_all() {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        },
        // A folder that may be written but not read.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        Err(error) => Err(error),
    }
}

fn unreadable(error: &io::Error) -> Failure {
    Failure::new(
        Kind::Input,
        format!("the file cannot be read: {}", plain(error)),
    )
}

fn unwritable(error: &io::Error) -> Failure {
    let failure = Failure::new(
        Kind::Output,
        format!("the file cannot be written: {}", plain(error)),
    );
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            failure.hint("free some space; the file is as it was")
        }
        _ => failure,
    }
}

/// The system's words without the number that Rust adds.
fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((words, _)) => words.to_owned(),
        None => text,
    }
}

/// The end of the name of a file that is not in its place yet.
pub(crate) const TEMPORARY_SUFFIX: &str = ".selkie-tmp";
/// The end of the name of the copy beside a file that is being written over.
pub(crate) const RECOVERY_SUFFIX: &str = ".selkie-recovery";

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn input(path: &Path) -> Input {
        read(&Source::File(path.to_owned())).unwrap()
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = folder();
        let (file, link) = (folder.path().join("a.yaml"), folder.path().join("l.yaml"));
        fs::write(&file, "old").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("a.yaml", &link).unwrap();
        input(&link).replace(b"new", Secrecy::Sealed).unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"new");
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["a.yaml", "l.yaml"]);
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_yet_stays_a_link() {
        let folder = folder();
        let link = folder.path().join("l");
        std::os::unix::fs::symlink("m", &link).unwrap();
        std::os::unix::fs::symlink("new", folder.path().join("m")).unwrap();
        write(&link, b"x", Secrecy::Clear).unwrap();
        assert_eq!(fs::read(folder.path().join("new")).unwrap(), b"x");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(names(folder.path()), ["l", "m", "new"]);
        std::os::unix::fs::symlink("circle", folder.path().join("circle")).unwrap();
        let failure = write(&folder.path().join("circle"), b"x", Secrecy::Clear).unwrap_err();
        assert!(failure.message.contains("circle of symbolic links"));
    }

    #[test]
    fn a_file_that_changed_meanwhile_is_left_alone() {
        let folder = folder();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "old").unwrap();
        let read = input(&file);
        fs::write(&file, "other").unwrap();
        let failure = read.replace(b"new", Secrecy::Sealed).unwrap_err();
        assert_eq!(failure.message, "somebody else changed the file meanwhile");
        assert_eq!(fs::read(&file).unwrap(), b"other");
        assert_eq!(names(folder.path()), ["a.yaml"]);
    }

    #[test]
    fn plaintext_goes_to_a_private_file_and_keys_never_overwrite() {
        let folder = folder();
        let file = folder.path().join("plain");
        write(&file, b"x", Secrecy::Clear).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        let failure = create_private(&file, b"y").unwrap_err();
        assert_eq!(failure.kind, Kind::Output);
        assert_eq!(fs::read(&file).unwrap(), b"x");
        let failure = write(folder.path(), b"y", Secrecy::Sealed).unwrap_err();
        assert!(
            failure.message.contains("not a regular file"),
            "{}",
            failure.message
        );
        let failure = create_private(&folder.path().join("no/such"), b"y").unwrap_err();
        assert!(failure.hint.unwrap().starts_with("mkdir -p"));
    }

    #[test]
    fn what_is_no_text_file_is_refused_by_name() {
        let folder = folder();
        let refused = |path: &Path| {
            let input = read(&Source::File(path.to_owned()));
            input
                .and_then(|input| input.text().map(str::len))
                .unwrap_err()
        };
        assert_eq!(
            refused(folder.path()).message,
            "this is a directory, not a file"
        );
        assert_eq!(refused(&folder.path().join("x")).kind, Kind::NoFile);
        let file = folder.path().join("a.yaml");
        fs::write(&file, b"\xff\xfea\0").unwrap();
        assert_eq!(refused(&file).message, "the file is UTF-16");
        fs::write(&file, b"a: \xff").unwrap();
        assert_eq!(refused(&file).message, "the file is not UTF-8 text");
    }

    #[test]
    fn long_input_of_unknown_length_is_read_whole() {
        let text = "x".repeat(300_000);
        let read = read_all(text.as_bytes(), 0).unwrap();
        assert_eq!(read.expose(), text.as_bytes());
    }

    #[test]
    fn other_names_of_a_file_are_told() {
        let folder = folder();
        let file = folder.path().join("a");
        fs::write(&file, "x").unwrap();
        assert_eq!(input(&file).hard_link_warning(), None);
        fs::hard_link(&file, folder.path().join("b")).unwrap();
        let read = input(&file);
        read.replace(b"y", Secrecy::Sealed).unwrap();
        assert!(
            read.hard_link_warning()
                .unwrap()
                .contains("1 other name (hard")
        );
    }
}
