//! Threads that have to be on time beside others that want the processor.

/// How the system was asked to treat a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    /// Like any other thread.
    #[default]
    Ordinary,
    /// Like any other, but with short turns that come soon: what every user may ask for.
    ShortTurns,
    /// Before all ordinary ones.
    RealTime,
}

impl Priority {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ordinary => "ordinary",
            Self::ShortTurns => "ordinary, short turns",
            Self::RealTime => "real-time",
        }
    }
}

/// How to be allowed real-time priority.
pub const REAL_TIME_REMEDY: &str = "to let it go before other programs, put `@audio - rtprio 20` (or your own name instead \
     of @audio) into /etc/security/limits.d/99-etude.conf and log in again";

/// Real-time priority of the driver of a bus; the emulated servos, which stand for hardware, come before it.
pub const DRIVER_PRIORITY: i32 = 5;
/// Real-time priority of emulated servos.
pub const EMULATOR_PRIORITY: i32 = 6;

/// Ask for the calling thread to be woken on time: with real-time `priority` if the user may have it, else with short turns.
#[cfg(target_os = "linux")]
pub fn be_punctual(priority: i32) -> Priority {
    /// Turn asked for, ns: the shortest the scheduler grants.
    const TURN_NS: u64 = 100_000;
    #[repr(C)]
    struct SchedAttr {
        size: u32,
        policy: u32,
        flags: u64,
        nice: i32,
        priority: u32,
        runtime_ns: u64,
        deadline_ns: u64,
        period_ns: u64,
    }
    // SAFETY: prctl with PR_SET_TIMERSLACK takes an integer and touches no memory.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1_000u64, 0, 0, 0);
    }
    let parameters = libc::sched_param { sched_priority: priority };
    // SAFETY: the parameters live through the call; 0 is the calling thread.
    let real_time = unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &parameters) };
    if real_time == 0 {
        return Priority::RealTime;
    }
    let attributes = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: 0,
        priority: 0,
        runtime_ns: TURN_NS,
        deadline_ns: 0,
        period_ns: 0,
    };
    // SAFETY: the attributes have the size they state and live through the call; the kernel only reads them.
    let short = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if short == 0 { Priority::ShortTurns } else { Priority::Ordinary }
}

/// Elsewhere threads are left as they are.
#[cfg(not(target_os = "linux"))]
pub fn be_punctual(_priority: i32) -> Priority {
    Priority::Ordinary
}
