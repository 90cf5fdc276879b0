//! Why a session ends, as a close code of the WebSocket. The hundreds of a code are the whole of what a client must know: whether to
//! come back.

/// What a client does about a close code. Codes that are not listed here mean [`Band::ComeBack`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// 1000: the client said goodbye. It comes back when it has a reason to.
    Done,
    /// 41xx: get credentials that are good, or register, and come back with them; never with the same ones.
    Credentials,
    /// 42xx, and whatever is unknown: come back with full jitter.
    ComeBack,
    /// 44xx: never by itself; the same would happen again, or take the place of another session.
    Stop,
}

impl Band {
    /// The band of any code that a WebSocket may close with.
    pub fn of(code: u16) -> Self {
        match code {
            1000 => Self::Done,
            4100..=4199 => Self::Credentials,
            4400..=4499 => Self::Stop,
            _ => Self::ComeBack,
        }
    }

    /// As the test vectors name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Credentials => "credentials",
            Self::ComeBack => "come-back",
            Self::Stop => "stop",
        }
    }
}

macro_rules! closes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $word:literal;)*) => {
        /// Why a session ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub enum Close {
            $($(#[$doc])* $name = $code,)*
        }

        impl Close {
            /// All of them, by number.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// A word for logs, metrics and the `error` frame; never changes.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }
        }
    };
}

closes! {
    /// The client said `bye`.
    Bye = 1000, "bye";
    /// The token has run out, and no other came by `auth`.
    TokenExpired = 4101, "token-expired";
    /// There is no token, or it is not one of ours.
    TokenInvalid = 4102, "token-invalid";
    /// The token is good, and not for this device.
    NotAllowed = 4103, "not-allowed";
    /// There is no such device: register it again.
    DeviceUnknown = 4104, "device-unknown";
    /// The device was revoked: forget what it has.
    DeviceRevoked = 4105, "device-revoked";
    /// The process leaves; another one takes the device at once.
    Draining = 4201, "draining";
    /// A fault of the server's.
    Internal = 4202, "internal";
    /// The store or the broker is away, or there is no room for another session.
    Unavailable = 4203, "unavailable";
    /// An operator ended the session, or its process counted as gone.
    Ended = 4205, "ended";
    /// No `hello` in time.
    HelloLate = 4208, "hello-late";
    /// Connected too often.
    RateLimited = 4229, "rate-limited";
    /// The window was full and nothing of it was acked for too long.
    SlowConsumer = 4230, "slow-consumer";
    /// Nothing was heard from the client for a heartbeat and some seconds.
    Silent = 4231, "silent";
    /// What the client sent is not of this protocol.
    ProtocolError = 4400, "protocol-error";
    /// A newer session of the same device took its place.
    Displaced = 4409, "displaced";
    /// A frame was larger than [`super::MAX_FRAME`].
    FrameTooLarge = 4413, "frame-too-large";
    /// A version of the protocol that is not spoken here.
    VersionUnsupported = 4426, "version-unsupported";
}

impl Close {
    /// The number that is sent.
    pub fn code(self) -> u16 {
        self as u16
    }

    /// What the client does about it.
    pub fn band(self) -> Band {
        Band::of(self.code())
    }
}
