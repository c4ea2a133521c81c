//! A tracer that counts the system calls of all threads as one sequence, and strikes one of them.
//!
//! `strace -e inject=…:when=N` counts for each thread apart, so that it cannot strike what a second
//! thread does for the Nth time. Only for x86-64: registers differ elsewhere. Needs `Root`, to
//! look at a process that does not want to be looked at.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// Words before a program that let it wait until it is traced.
pub const WAITING: [&str; 4] = ["sh", "-c", "kill -STOP $$; exec \"$@\"", "sh"];
/// Bytes of a path that are read at once.
const PATH_SIZE: usize = 512;

/// Where a call says which file it is about: by the number of its argument.
#[derive(Clone, Copy)]
enum Place {
    /// A descriptor.
    Fd(usize),
    /// A folder's descriptor, and a path that may begin there.
    At(usize, usize),
    /// A path.
    Path(usize),
}

use Place::{At, Fd, Path as ByPath};

/// The calls that are looked at: number, name, where the file is named, where a second one is.
const CALLS: &[(libc::c_long, &str, Place, Option<Place>)] = &[
    (libc::SYS_access, "access", ByPath(0), None),
    (libc::SYS_fadvise64, "fadvise64", Fd(0), None),
    (libc::SYS_fallocate, "fallocate", Fd(0), None),
    (libc::SYS_fchmod, "fchmod", Fd(0), None),
    (libc::SYS_fdatasync, "fdatasync", Fd(0), None),
    (libc::SYS_flock, "flock", Fd(0), None),
    (libc::SYS_fstat, "fstat", Fd(0), None),
    (libc::SYS_fsync, "fsync", Fd(0), None),
    (libc::SYS_ftruncate, "ftruncate", Fd(0), None),
    (libc::SYS_getdents64, "getdents64", Fd(0), None),
    (libc::SYS_lseek, "lseek", Fd(0), None),
    (libc::SYS_mkdir, "mkdir", ByPath(0), None),
    (libc::SYS_mkdirat, "mkdirat", At(0, 1), None),
    (libc::SYS_newfstatat, "newfstatat", At(0, 1), None),
    (libc::SYS_openat, "openat", At(0, 1), None),
    (libc::SYS_openat2, "openat2", At(0, 1), None),
    (libc::SYS_pread64, "pread64", Fd(0), None),
    (libc::SYS_pwrite64, "pwrite64", Fd(0), None),
    (libc::SYS_read, "read", Fd(0), None),
    (libc::SYS_rename, "rename", ByPath(0), Some(ByPath(1))),
    (libc::SYS_renameat2, "renameat2", At(0, 1), Some(At(2, 3))),
    (libc::SYS_rmdir, "rmdir", ByPath(0), None),
    (libc::SYS_sendmsg, "sendmsg", Fd(0), None),
    (libc::SYS_sendto, "sendto", Fd(0), None),
    (libc::SYS_statfs, "statfs", ByPath(0), None),
    (libc::SYS_statx, "statx", At(0, 1), None),
    (libc::SYS_unlink, "unlink", ByPath(0), None),
    (libc::SYS_unlinkat, "unlinkat", At(0, 1), None),
    (libc::SYS_write, "write", Fd(0), None),
    (libc::SYS_writev, "writev", Fd(0), None),
];

/// One call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its name.
    pub name: &'static str,
    /// The file it is about, or what `/proc` says of the descriptor: `socket:[7]`.
    pub path: PathBuf,
    /// Where a rename leads.
    pub to: Option<PathBuf>,
    /// The thread that makes it.
    pub thread: i32,
    /// Its third argument: a size, flags, or something else.
    pub third: u64,
    /// When it began, as a number in the order of all that began and ended.
    pub began: usize,
    /// When it ended, and with what; `None` where the program did not live to see it.
    pub ended: Option<(usize, i64)>,
}

impl Call {
    /// Whether the file is, or lies in, `folder`.
    pub fn is_in(&self, folder: &Path) -> bool {
        self.path.starts_with(folder)
    }

    /// Whether it may leave something on a disk, or at another machine.
    pub fn leaves_something(&self) -> bool {
        const WRITING: [&str; 18] = [
            "fallocate",
            "fchmod",
            "fdatasync",
            "fsync",
            "ftruncate",
            "mkdir",
            "mkdirat",
            "pwrite64",
            "rename",
            "renameat2",
            "rmdir",
            "sendmsg",
            "sendto",
            "unlink",
            "unlinkat",
            "write",
            "writev",
            "openat",
        ];
        let creates = self.third & (libc::O_CREAT | libc::O_TRUNC) as u64 != 0;
        WRITING.contains(&self.name) && (self.name != "openat" || creates)
    }

    /// Whether it ended without an error.
    pub fn succeeded(&self) -> bool {
        self.ended.is_some_and(|(_, result)| result >= 0)
    }
}

/// What happens to the program at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The call is not made, and gives this error.
    Error(Errno),
    /// SIGKILL, before the call is made.
    Kill,
    /// One byte is read or written, and not all.
    Short,
}

/// What became of a program.
#[derive(Debug)]
pub struct Traced {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// The calls that were asked for, in the order in which they began.
    pub calls: Vec<Call>,
    /// The call that the fault struck.
    pub struck: Option<Call>,
}

/// Which calls.
pub type Which<'a> = &'a (dyn Fn(&Call) -> bool + Sync);
/// The fault that strikes the call of that index, from 0, among some of those that are wanted.
pub type Strike<'a> = (u64, Fault, Which<'a>);

/// Runs a command, which must begin with [`WAITING`], to its end, and notes the calls that are
/// wanted. Its output must not go into a pipe.
pub fn run(command: Command, wanted: Which<'_>, strike: Option<Strike<'_>>) -> Traced {
    // A thread of its own: one that began nothing else waits for nothing else.
    std::thread::scope(|scope| {
        let traced = scope.spawn(|| trace(command, wanted, strike)).join();
        traced.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[allow(clippy::zombie_processes, reason = "waited for by its number, with its threads")]
fn trace(mut command: Command, wanted: Which<'_>, strike: Option<Strike<'_>>) -> Traced {
    let child = command.spawn().expect("sh starts");
    let pid = Pid::from_raw(child.id() as i32);
    let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).expect("it is ours");
    assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).expect("it is ours");
    kill(pid, Signal::SIGCONT).expect("it is ours");
    let mut tracer = Tracer {
        pid,
        memory: None,
        strike,
        candidates: 0,
        wanted,
        striking: HashMap::new(),
        inside: HashMap::new(),
        moment: 0,
        traced: Traced { code: None, calls: vec![], struck: None },
    };
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
        tracer.at(status);
    }
    tracer.traced
}

struct Tracer<'a> {
    pid: Pid,
    /// The program's memory, once it is the program.
    memory: Option<File>,
    strike: Option<Strike<'a>>,
    /// Calls so far that the fault could have struck.
    candidates: u64,
    wanted: Which<'a>,
    /// What is to come of a thread's call when it ends.
    striking: HashMap<Pid, Errno>,
    /// Which call each thread is in, where it is wanted.
    inside: HashMap<Pid, usize>,
    moment: usize,
    traced: Traced,
}

impl Tracer<'_> {
    fn at(&mut self, status: WaitStatus) {
        let signal = match status {
            WaitStatus::Exited(pid, code) => {
                if pid == self.pid {
                    self.traced.code = Some(code);
                }
                return;
            }
            WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) => {
                let memory = File::open(format!("/proc/{}/mem", self.pid));
                self.memory = Some(memory.expect("root may look"));
                None
            }
            // Where it was killed meanwhile, there is nothing to look at.
            WaitStatus::PtraceSyscall(thread) => {
                let _ = self.at_call(thread);
                None
            }
            WaitStatus::Stopped(_, signal) => Some(signal),
            _ => None,
        };
        if let Some(thread) = status.pid() {
            let _ = ptrace::syscall(thread, signal);
        }
    }

    fn at_call(&mut self, thread: Pid) -> Result<(), Errno> {
        if self.memory.is_none() {
            return Ok(());
        }
        self.moment += 1;
        match ptrace::syscall_info(thread)?.op {
            libc::PTRACE_SYSCALL_INFO_ENTRY => self.begins(thread),
            libc::PTRACE_SYSCALL_INFO_EXIT => self.ends(thread),
            _ => Ok(()),
        }
    }

    fn begins(&mut self, thread: Pid) -> Result<(), Errno> {
        let mut registers = ptrace::getregs(thread)?;
        let number = registers.orig_rax as libc::c_long;
        let Some((_, name, place, to)) = CALLS.iter().find(|call| call.0 == number) else {
            return Ok(());
        };
        let arguments = [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8];
        let call = Call {
            name,
            path: self.file(*place, &arguments),
            to: to.map(|to| self.file(to, &arguments)),
            thread: thread.as_raw(),
            third: registers.rdx,
            began: self.moment,
            ended: None,
        };
        if !(self.wanted)(&call) {
            return Ok(());
        }
        if let Some((at, fault, which)) = self.strike
            && which(&call)
        {
            if self.candidates == at {
                self.traced.struck = Some(call.clone());
                self.strike(thread, &mut registers, fault)?;
            }
            self.candidates += 1;
        }
        let index = self.traced.calls.len();
        self.inside.insert(thread, index);
        self.traced.calls.push(call);
        Ok(())
    }

    fn strike(
        &mut self,
        thread: Pid,
        registers: &mut libc::user_regs_struct,
        fault: Fault,
    ) -> Result<(), Errno> {
        match fault {
            Fault::Kill => return kill(self.pid, Signal::SIGKILL),
            Fault::Error(error) => {
                // No call has this number: the kernel does nothing.
                registers.orig_rax = u64::MAX;
                self.striking.insert(thread, error);
            }
            Fault::Short => registers.rdx = registers.rdx.min(1),
        }
        ptrace::setregs(thread, *registers)
    }

    fn ends(&mut self, thread: Pid) -> Result<(), Errno> {
        let Some(index) = self.inside.remove(&thread) else { return Ok(()) };
        let mut registers = ptrace::getregs(thread)?;
        if let Some(error) = self.striking.remove(&thread) {
            registers.rax = (-(error as i64)) as u64;
            ptrace::setregs(thread, registers)?;
        }
        self.traced.calls[index].ended = Some((self.moment, registers.rax as i64));
        Ok(())
    }

    fn file(&self, place: Place, arguments: &[u64]) -> PathBuf {
        match place {
            Fd(at) => self.descriptor(arguments[at]),
            ByPath(at) => self.text(arguments[at]),
            At(folder, at) => {
                let path = self.text(arguments[at]);
                if path.is_absolute() || arguments[folder] as i32 == libc::AT_FDCWD {
                    return path;
                }
                let folder = self.descriptor(arguments[folder]);
                if path.as_os_str().is_empty() { folder } else { folder.join(path) }
            }
        }
    }

    fn descriptor(&self, number: u64) -> PathBuf {
        let link = format!("/proc/{}/fd/{}", self.pid, number as i32);
        std::fs::read_link(link).unwrap_or_default()
    }

    fn text(&self, address: u64) -> PathBuf {
        let mut bytes = [0; PATH_SIZE];
        let memory = self.memory.as_ref().expect("looked at since it was opened");
        // Shorter at the end of a mapping.
        let size = memory.read_at(&mut bytes, address).unwrap_or(0);
        let end = bytes[..size].iter().position(|byte| *byte == 0).unwrap_or(size);
        dockseal::clip::path_from_bytes(bytes[..end].to_vec())
    }
}
