//! `selkie rekey` on a whole repository, with age and AWS KMS (on moto) mixed: how often the key
//! service is asked, and what is left when the program is killed (issue 4, "Must show" 5).
//!
//! 300 files and 10 kills; with `SELKIE_FULL=1` 10,000 files in 50 folders and 100 kills.

#![allow(clippy::unwrap_used, reason = "a test that fails shows where")]

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use compat::counts::{everything, report, verified};
use compat::moto::Moto;
use compat::program::{Finished, Program};
use compat::selkie::selkie;
use compat::sops_file::{IDENTITY, RECIPIENT};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tempfile::TempDir;

/// So many files go into one command line.
const CHUNK: usize = 250;

/// Who shall read a file. Going from the first to the second state takes a reader out, adds one, and
/// replaces one; going back does it the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    First,
    Second,
}

impl State {
    fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// Which keys the files of a folder have. moto, in Python, is the slowest part.
fn kind(folder: usize) -> &'static str {
    match folder % 10 {
        4 => "kms",
        9 => "mixed",
        _ => "age",
    }
}

struct Repository {
    folder: TempDir,
    moto: Moto,
    /// A second age recipient.
    reader: String,
    /// Two keys of KMS.
    keys: [String; 2],
    /// Name and value, in the order of the names.
    files: Vec<(String, String)>,
}

impl Repository {
    /// Makes and encrypts files in so many folders; each has a data key of its
    /// own, but for `copies` of one.
    async fn new(count: usize, folders: usize, copies: usize) -> Result<Self> {
        let moto = Moto::start().await?;
        let keys = [
            moto.create_key(&json!({})).await?,
            moto.create_key(&json!({})).await?,
        ];
        let reader = age::x25519::Identity::generate().to_public().to_string();
        let mut files: Vec<(String, String)> = (0..count)
            .map(|number| {
                let folder = number % folders;
                let name = format!("{}-{folder:02}/{number:05}.yaml", kind(folder));
                (name, format!("value {number}"))
            })
            .collect();
        let repository = Self {
            folder: TempDir::with_prefix("selkie-rekey-")?,
            moto,
            reader,
            keys,
            files: Vec::new(),
        };
        repository.rule(State::First)?;
        for (name, value) in &files {
            let path = repository.folder.path().join(name);
            fs::create_dir_all(path.parent().context("a folder")?)?;
            let text = format!("# {name}\npassword: {value}\nuser: app\n");
            fs::write(path, text)?;
        }
        repository.ok(&["encrypt", "-q", "."])?;
        let (original, value) = files
            .iter()
            .find(|(name, _)| name.starts_with("kms"))
            .context("a file for KMS alone")?
            .clone();
        for copy in 0..copies {
            let name = original.replace(".yaml", &format!("-copy{copy}.yaml"));
            let folder = repository.folder.path();
            fs::copy(folder.join(&original), folder.join(&name))?;
            files.push((name, value.clone()));
        }
        files.sort();
        Ok(Self {
            files,
            ..repository
        })
    }

    /// Writes the rules of a state.
    fn rule(&self, state: State) -> Result<()> {
        let [one, two] = &self.keys;
        let (age, kms, mixed) = match state {
            State::First => (format!("{RECIPIENT},{}", self.reader), one.clone(), one),
            State::Second => (RECIPIENT.to_owned(), format!("{one},{two}"), two),
        };
        let rules = format!(
            "creation_rules:\n\
             - path_regex: ^age-\n  age: {age}\n  encrypted_regex: ^password$\n\
             - path_regex: ^kms-\n  kms: {kms}\n\
             - path_regex: ^mixed-\n  age: {RECIPIENT}\n  kms: {mixed}\n"
        );
        fs::write(self.folder.path().join(".sops.yaml"), rules)?;
        Ok(())
    }

    /// Whether a file has exactly the keys of a state.
    fn is_in(&self, name: &str, text: &str, state: State) -> bool {
        let [one, two] = &self.keys;
        let second = state == State::Second;
        let (mine, theirs) = match name.split('-').next() {
            Some("age") => (true, !second),
            Some("mixed") => (true, false),
            _ => (false, false),
        };
        let (with_one, with_two) = match name.split('-').next() {
            Some("kms") => (true, second),
            Some("mixed") => (!second, second),
            _ => (false, false),
        };
        [
            (RECIPIENT, mine),
            (&self.reader, theirs),
            (one, with_one),
            (two, with_two),
        ]
        .iter()
        .all(|(key, wanted)| text.contains(*key) == *wanted)
    }

    fn program(&self, arguments: &[&str]) -> Result<Program> {
        Ok(selkie()?
            .args(arguments)
            .folder(self.folder.path())
            .env("HOME", self.folder.path())
            .env("SOPS_AGE_KEY", IDENTITY)
            .env("AWS_ENDPOINT_URL", self.moto.url())
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "example")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // moto shares two cores with everything else here.
            .env("SELKIE_KEY_SERVICE_TIMEOUT", "60"))
    }

    fn ok(&self, arguments: &[&str]) -> Result<Finished> {
        self.program(arguments)?.ok()
    }

    fn contents(&self) -> Result<Vec<String>> {
        let read = |(name, _): &(String, String)| {
            fs::read_to_string(self.folder.path().join(name)).with_context(|| name.clone())
        };
        self.files.iter().map(read).collect()
    }

    /// Opens files, given by their places in the list.
    fn open(&self, places: &[usize]) -> Result<()> {
        for part in places.chunks(CHUNK) {
            let names = part.iter().map(|place| self.files[*place].0.as_str());
            let arguments: Vec<&str> = ["decrypt", "-q", "--check"]
                .into_iter()
                .chain(names)
                .collect();
            self.ok(&arguments)?;
        }
        Ok(())
    }

    /// Checks that every file has the keys of a state and its value, and that nothing else is there.
    fn check_all(&self, state: State) -> Result<()> {
        for ((name, _), text) in self.files.iter().zip(self.contents()?) {
            ensure!(self.is_in(name, &text, state), "{name} is not {state:?}");
        }
        for part in self.files.chunks(CHUNK) {
            let names = part.iter().map(|(name, _)| name.as_str());
            let arguments: Vec<&str> = ["decrypt"].into_iter().chain(names).collect();
            let shown = self.ok(&arguments)?.text();
            let values = shown
                .lines()
                .filter_map(|line| line.strip_prefix("password: "));
            let values: Vec<&str> = values.collect();
            let expected: Vec<&str> = part.iter().map(|(_, value)| value.as_str()).collect();
            ensure!(values == expected, "{values:?} is not {expected:?}");
        }
        let mut found = 0;
        for folder in fs::read_dir(self.folder.path())? {
            let folder = folder?.path();
            if folder.is_dir() {
                found += fs::read_dir(folder)?.count();
            }
        }
        let count = self.files.len();
        ensure!(found == count, "{found} files are there instead of {count}");
        Ok(())
    }

    fn count(&self, kind: &str) -> usize {
        let of_kind = |(name, _): &&(String, String)| name.starts_with(kind);
        self.files.iter().filter(of_kind).count()
    }

    /// Rekeys to a state and returns how often KMS was asked for what.
    async fn rekey_counted(&self, state: State) -> Result<(usize, usize, usize)> {
        self.rule(state)?;
        self.counted(&["rekey", "-q", "."]).await
    }

    /// Runs ours and returns how often KMS was asked to decrypt, to encrypt, and for anything.
    async fn counted(&self, arguments: &[&str]) -> Result<(usize, usize, usize)> {
        self.moto.record().await?;
        self.ok(arguments)?;
        let requests = self.moto.requests().await?;
        let of = |target: &str| {
            let asked = requests.iter().filter(|request| request.target == target);
            asked.count()
        };
        Ok((
            of("TrentService.Decrypt"),
            of("TrentService.Encrypt"),
            requests.len(),
        ))
    }
}

/// One Decrypt for each distinct wrapped key that nothing at hand opens, one Encrypt for each file
/// and each key of KMS that it gets, and nothing else.
#[tokio::test]
async fn the_key_service_is_asked_once_per_wrapped_key() -> Result<()> {
    let copies = 3;
    let repository = Repository::new(120, 20, copies).await?;
    let (kms, mixed) = (repository.count("kms"), repository.count("mixed"));
    ensure!(
        (kms, mixed) == (12 + copies, 12),
        "{kms} and {mixed} files of KMS"
    );
    // Every file of KMS gets one more key: its data key stays. The mixed ones open with age.
    let counts = repository.rekey_counted(State::Second).await?;
    let (decrypts, encrypts) = (kms - copies, kms + mixed);
    ensure!(
        counts == (decrypts, encrypts, decrypts + encrypts),
        "to the second state: {counts:?}"
    );
    repository.check_all(State::Second)?;
    // Every file loses a reader and gets a new data key, for one key of KMS.
    let counts = repository.rekey_counted(State::First).await?;
    ensure!(
        counts == (decrypts, encrypts, decrypts + encrypts),
        "back to the first state: {counts:?}"
    );
    repository.check_all(State::First)?;
    // Nothing is to be done: nobody is asked.
    let counts = repository.rekey_counted(State::First).await?;
    ensure!(counts == (0, 0, 0), "nothing to do: {counts:?}");
    // A key that was wrapped long ago is old, whenever a value was changed last.
    let (old, _) = repository
        .files
        .iter()
        .find(|(name, _)| name.starts_with("kms"))
        .context("a file for KMS alone")?;
    let path = repository.folder.path().join(old);
    let text = fs::read_to_string(&path)?;
    let aged = text.replace("created_at: \"20", "created_at: \"19");
    ensure!(aged != text, "{text}");
    fs::write(&path, aged)?;
    for expected in [(1, 1, 2), (0, 0, 0)] {
        let older = ["rekey", "-q", "--older-than", "90d", "."];
        let counts = repository.counted(&older).await?;
        ensure!(counts == expected, "older than 90 days: {counts:?}");
    }
    verified(&format!(
        "rekey: {decrypts} Decrypt for {decrypts} wrapped keys in {kms} files, {encrypts} Encrypt for \
         {encrypts} new recipients"
    ));
    Ok(())
}

/// Killed again and again, and started again, until everything is done.
#[tokio::test]
async fn a_killed_rekey_leaves_whole_files_and_the_next_one_goes_on() -> Result<()> {
    let (files, folders, kills) = match everything() {
        true => (10_000, 50, 100),
        false => (300, 20, 10),
    };
    let repository = Repository::new(files, folders, 0).await?;
    let mut state = State::Second;
    repository.rule(state)?;
    let (whole, scan) = (
        timed(|| repository.ok(&["rekey", "-q", "."]))?,
        timed(|| repository.ok(&["rekey", "-q", "."]))?,
    );
    repository.check_all(state)?;
    state = state.other();
    repository.rule(state)?;
    let mut random = ChaCha8Rng::seed_from_u64(5);
    // So that the kills fall into the whole of the work.
    let longest = scan + whole * 2 / kills;
    let (mut killed, mut finished, mut changed_files) = (0, 0, 0);
    let mut failures = Vec::new();
    while killed < kills {
        let before = repository.contents()?;
        let mut child = repository
            .program(&["rekey", "-q", "."])?
            .into_command()
            .stdin(Stdio::null())
            .spawn()?;
        let moment = longest.mul_f64(random.random_range(0.0..1.0));
        std::thread::sleep(moment);
        child.kill()?;
        match child.wait()?.code() {
            None => killed += 1,
            Some(0) => finished += 1,
            Some(code) => failures.push(format!("a run that was not killed ended with {code}")),
        }
        let (changed, wrong) = changes(&repository, &before, state)?;
        changed_files += changed.len();
        if let Some(name) = wrong {
            failures.push(format!("after {moment:?}: {name} is neither old nor new"));
        }
        if let Err(error) = repository.open(&changed) {
            failures.push(format!("after {moment:?}: {error:#}"));
        }
        if finished > 0 && failures.is_empty() && is_done(&repository, state)? {
            finished = 0;
            state = state.other();
            repository.rule(state)?;
        }
        ensure!(failures.len() < 5, "{}", failures.join("\n"));
    }
    repository.ok(&["rekey", "-q", "."])?;
    repository.check_all(state)?;
    verified(&format!(
        "rekey under kill: {files} files in {folders} folders, {changed_files} rewritten, a whole run \
         takes {:.1} s",
        whole.as_secs_f64()
    ));
    report("rekey under kill", kills as usize, &failures);
    Ok(())
}

/// Returns the places of the files that changed, and the name of one that is not as it shall be then.
fn changes(
    repository: &Repository,
    before: &[String],
    state: State,
) -> Result<(Vec<usize>, Option<String>)> {
    let mut changed = Vec::new();
    let mut wrong = None;
    for (place, after) in repository.contents()?.iter().enumerate() {
        if *after == before[place] {
            continue;
        }
        changed.push(place);
        let name = &repository.files[place].0;
        if !repository.is_in(name, after, state) {
            wrong = Some(name.clone());
        }
    }
    Ok((changed, wrong))
}

fn is_done(repository: &Repository, state: State) -> Result<bool> {
    let contents = repository.contents()?;
    let mut files = repository.files.iter().zip(contents);
    Ok(files.all(|((name, _), text)| repository.is_in(name, &text, state)))
}

fn timed<T>(work: impl FnOnce() -> Result<T>) -> Result<Duration> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed())
}
