//! What one flow is to do, drawn at random.

use crate::dice::{Dice, is_long};

/// Everything about one flow that is not left to chance and the machine.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Which one it is: its client has this address of loopback.
    pub(crate) number: u32,
    /// What the content and the random moments come from.
    pub(crate) seed: u64,
    /// From client to target.
    pub(crate) up: Script,
    /// From target to client.
    pub(crate) down: Script,
    /// What the client sends before the target has accepted.
    pub(crate) early: u64,
    /// Who gives up, and when.
    pub(crate) reset: Option<Reset>,
}

/// One direction.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) len: u64,
    /// Whether the sender waits for the end of the other direction before its first byte.
    pub(crate) is_answer: bool,
    /// The most bytes of one write, and of one read.
    pub(crate) write_most: u64,
    pub(crate) read_most: u64,
    /// One write in so many is followed by a pause, and one read; 0 means none.
    pub(crate) write_pauses: u64,
    pub(crate) read_pauses: u64,
    /// The buffer of the client's socket, in bytes, if not the usual one.
    pub(crate) buffer: Option<u32>,
}

/// A side closes with a reset once it has sent so many bytes, and before its end of file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reset {
    pub(crate) by_client: bool,
    pub(crate) after: u64,
}

impl Plan {
    /// One of those that end as they should.
    pub(crate) fn orderly(number: u32, dice: &mut Dice) -> Self {
        let seed = dice.next();
        let (mut up, mut down) = (Script::random(dice), Script::random(dice));
        down.buffer = down.buffer.map(|_| RECEIVE_BUFFER);
        match dice.below(4) {
            0 => down.is_answer = true,
            1 => up.is_answer = true,
            _ => {}
        }
        let early = if up.is_answer || dice.once_in(3) {
            0
        } else {
            up.len.min(1 + dice.below(EARLY_MOST))
        };
        Self {
            number,
            seed,
            up,
            down,
            early,
            reset: None,
        }
    }

    /// One that a side resets at a random moment.
    pub(crate) fn cut_short(number: u32, dice: &mut Dice) -> Self {
        let mut plan = Self::orderly(number, dice);
        let by_client = dice.once_in(2);
        let (sends, early) = if by_client {
            (&plan.up, plan.early)
        } else {
            (&plan.down, 0)
        };
        // Not all early: then the end of file would have gone before.
        let len = sends.len.max(1);
        plan.early = plan.early.min(plan.up.len.saturating_sub(1));
        let after = early.min(len - 1) + dice.below(len - early.min(len - 1));
        plan.reset = Some(Reset { by_client, after });
        plan
    }

    /// The same with at most so many bytes each way.
    pub(crate) fn at_most(mut self, len: u64) -> Self {
        self.up.len = self.up.len.min(len);
        self.down.len = self.down.len.min(len);
        self.early = self.early.min(len);
        self
    }

    /// One that goes at full speed both ways.
    pub(crate) fn steady(number: u32, up: u64, down: u64, dice: &mut Dice) -> Self {
        let script = |len| Script {
            len,
            is_answer: false,
            write_most: 1 << 16,
            read_most: 1 << 16,
            write_pauses: 0,
            read_pauses: 0,
            buffer: None,
        };
        Self {
            number,
            seed: dice.next(),
            up: script(up),
            down: script(down),
            early: 0,
            reset: None,
        }
    }
}

impl Script {
    fn random(dice: &mut Dice) -> Self {
        let len = length(dice);
        // Small pieces only of what then does not take for ever.
        let least = (len / MOST_WRITES).max(1);
        let piece = |dice: &mut Dice| least.max(dice.pick(&PIECES));
        // Nor may a long one pause all the time.
        let pauses = |dice: &mut Dice, piece: u64| match dice.below(4) {
            0 => dice.pick(&[3, 10, 30]).max(len / piece / MOST_PAUSES),
            _ => 0,
        };
        let (write_most, read_most) = (piece(dice), piece(dice));
        Self {
            len,
            is_answer: false,
            write_most,
            read_most,
            write_pauses: pauses(dice, write_most),
            read_pauses: pauses(dice, read_most),
            // Small buffers with small writes in them are a matter of seconds, whoever relays.
            buffer: (len < 1 << 19 && write_most >= 1448 && dice.once_in(4))
                .then(|| dice.pick(&SEND_BUFFERS)),
        }
    }
}

fn length(dice: &mut Dice) -> u64 {
    let around = |dice: &mut Dice, len: u64| len - 1 + dice.below(3);
    match dice.below(1000) {
        0..250 => dice.below(3),
        250..400 => dice.below(2000),
        400..500 => around(dice, 1448),
        500..600 => around(dice, 4096),
        600..700 => around(dice, 16_384),
        700..775 => around(dice, 65_483),
        775..850 => around(dice, 65_536),
        850..900 => around(dice, 1 << 18),
        900..930 => around(dice, 1 << 20),
        930..999 => dice.below(1 << 19),
        _ => dice.below(if is_long() { 1 << 30 } else { 64 << 20 }),
    }
}

/// Fits into what the kernel takes for a socket that nobody reads from yet.
const EARLY_MOST: u64 = 30_000;
/// 1 stands for the least that the kernel gives.
const SEND_BUFFERS: [u32; 3] = [1, 4096, RECEIVE_BUFFER];
/// With 4096 and a few small segments, two sockets of Linux without any proxy between them can get
/// stuck at a window below the sender's segment: 300 bytes every 200 ms (RFC 9293, 3.8.6.2.1), minutes
/// for a quarter of a megabyte. With this size none of 144 such flows did.
const RECEIVE_BUFFER: u32 = 20_000;
const MOST_WRITES: u64 = 2000;
const MOST_PAUSES: u64 = 10;
const PIECES: [u64; 8] = [1, 7, 100, 1448, 4096, 16_384, 65_536, 1 << 18];
