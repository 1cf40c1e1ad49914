//! Which tests failed, taken from what `cargo test` writes: at the end of a long log, where people
//! look first, and which is all that is left of it when it was cut.

use std::fmt;

/// Reads a run's output, line by line.
#[derive(Default)]
pub(crate) struct Failures {
    /// The test program that runs now.
    program: String,
    /// The test whose words are being read.
    speaker: Option<usize>,
    failed: Vec<Failure>,
}

/// A test that failed.
struct Failure {
    program: String,
    name: String,
    /// How its first panic's message begins.
    panic: Vec<String>,
    hearing: Hearing,
}

/// What the lines that come from a failed test are.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Hearing {
    /// Not yet its panic.
    Before,
    Panic,
    /// Its backtrace, or whatever else comes after.
    After,
}

impl Failures {
    /// Takes the next line, as cargo or a test program wrote it.
    pub(crate) fn read(&mut self, line: &str) {
        let line = line.trim_end();
        if let Some(program) = line.trim_start().strip_prefix("Running ") {
            program.clone_into(&mut self.program);
            self.speaker = None;
        } else if let Some(package) = line.trim_start().strip_prefix("Doc-tests ") {
            self.program = format!("doc-tests of {package}");
            self.speaker = None;
        } else if let Some(name) = failed_test(line) {
            self.note(name);
        } else if let Some(name) = speaking_test(line) {
            // What others wrote in between may have hidden that it failed.
            self.speaker = Some(self.note(name));
        } else if let Some(speaker) = self.speaker {
            self.failed[speaker].hear(line);
        }
    }

    /// Takes down that this test failed, once, and answers where.
    fn note(&mut self, name: &str) -> usize {
        let is_it = |failure: &Failure| failure.program == self.program && failure.name == name;
        if let Some(index) = self.failed.iter().position(is_it) {
            return index;
        }
        self.failed.push(Failure {
            program: self.program.clone(),
            name: name.to_owned(),
            panic: Vec::new(),
            hearing: Hearing::Before,
        });
        self.failed.len() - 1
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.failed.is_empty()
    }
}

impl Failure {
    fn hear(&mut self, line: &str) {
        self.hearing = match self.hearing {
            Hearing::Before if is_panic(line) => Hearing::Panic,
            Hearing::Panic if self.panic.len() == LINES || is_after_panic(line) => Hearing::After,
            Hearing::Panic => {
                self.panic.push(line.to_owned());
                Hearing::Panic
            }
            hearing => hearing,
        }
    }
}

impl fmt::Display for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failed {
            writeln!(f, "{}  in {}", failure.name, failure.program)?;
            for line in &failure.panic {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

/// The name in `test NAME ... FAILED`. Others may have written between the two.
fn failed_test(line: &str) -> Option<&str> {
    let name = line.strip_prefix("test ")?.strip_suffix("FAILED")?;
    let (name, _) = name.split_once(" ... ")?;
    Some(name)
}

/// The name in `---- NAME stdout ----`, before what a failed test has written.
fn speaking_test(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// The line before a panic's message.
fn is_panic(line: &str) -> bool {
    line.starts_with("thread '") && line.contains(" panicked at ") && line.ends_with(':')
}

/// The line after a panic's message.
fn is_after_panic(line: &str) -> bool {
    line.is_empty()
        || is_panic(line)
        || line == "stack backtrace:"
        || line.starts_with("note: run with")
}

/// How much of a panic's message is repeated: what an assertion says, and which case it was.
const LINES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
     Running unittests src/lib.rs (target/debug/deps/pony-1)

running 2 tests
test policy::forgets ... ok
test policy::counts ... FAILED

failures:

---- policy::counts stdout ----

thread 'policy::counts' (7) panicked at pony/src/policy.rs:1:2:
assertion `left == right` failed: by name
  left: 1
thread 'policy::counts' (7) panicked at pony/src/policy.rs:1:9:
another

failures:
    policy::counts

test result: FAILED. 1 passed; 1 failed
error: test failed, to rerun pass `-p pony --lib`
     Running tests/lanes/main.rs (target/debug/deps/lanes-2)
test policy::counts ... skipped, needs root
ok
test ends::copy ... PONY_TEST_LANES=shuffle:1 FAILED
test quiet - should panic ... PONY_SEED=1
FAILED
---- quiet - should panic stdout ----
note: test did not panic as expected
   Doc-tests pony
test pony/src/lib.rs - (line 3) ... FAILED
";

    #[test]
    fn failed_tests_are_repeated_with_their_program_and_the_beginning_of_their_panic() {
        let mut failures = Failures::default();
        assert!(failures.is_empty());
        for line in OUTPUT.lines() {
            failures.read(line);
        }
        assert_eq!(
            failures.to_string(),
            "policy::counts  in unittests src/lib.rs (target/debug/deps/pony-1)\n    \
             assertion `left == right` failed: by name\n      left: 1\n\
             ends::copy  in tests/lanes/main.rs (target/debug/deps/lanes-2)\n\
             quiet - should panic  in tests/lanes/main.rs (target/debug/deps/lanes-2)\n\
             pony/src/lib.rs - (line 3)  in doc-tests of pony\n"
        );
        assert!(!failures.is_empty());
    }
}
