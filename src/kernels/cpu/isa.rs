//! Which instructions this machine has, and one source compiled for each.

/// An instruction set that kernels exist for and that this machine has: there is no way to one that it lacks. All give the same
/// bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Set);

/// The best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Isa {
    /// What every machine can run.
    pub const PORTABLE: Self = Self(Set::Portable);

    /// What this machine can run, the fastest first. Portable is always last.
    pub fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512bw")
            {
                found.push(Self(Set::Avx512));
            }
            if avx2 {
                found.push(Self(Set::Avx2));
            }
        }
        found.push(Self::PORTABLE);
        found
    }

    pub fn best() -> Self {
        Self::available()[0]
    }

    /// By the name that `VEVAL_ISA` takes, if this machine has it.
    pub fn named(name: &str) -> Option<Self> {
        Self::available().into_iter().find(|isa| isa.name() == name)
    }

    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "avx2",
            Set::Portable => "portable",
        }
    }

    pub(super) fn set(self) -> Set {
        self.0
    }
}

/// Compiles a function three times and chooses at run time. The body may use only operations that IEEE 754 defines to
/// the last bit and must name the order of every reduction; then the compiler may vectorise as it likes.
macro_rules! versions {
    ($($(#[$doc:meta])* $vis:vis fn $name:ident = $body:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {$(
        $(#[$doc])*
        $vis fn $name(isa: $crate::kernels::cpu::isa::Isa, $($arg: $type),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,avx2,fma")]
            fn avx512($($arg: $type),*) $(-> $result)? { $body($($arg),*) }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $type),*) $(-> $result)? { $body($($arg),*) }
            match isa.set() {
                // SAFETY: an `Isa` comes from `available`, which asked the processor.
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::cpu::isa::Set::Avx512 => unsafe { avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                $crate::kernels::cpu::isa::Set::Avx2 => unsafe { avx2($($arg),*) },
                $crate::kernels::cpu::isa::Set::Portable => $body($($arg),*),
            }
        }
    )*};
}
pub(super) use versions;
