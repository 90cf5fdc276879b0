//! The group commit: one task takes what is waiting and commits it together, so the cost of a row falls as load rises.
//!
//! Owns the queue before a commit, how much goes into one, and whose fault it is when one is refused: the batch is halved until the
//! bad row stands alone, and fails alone. Refuses to own what a row is, whom to tell and what else a commit sets off: that is a
//! [`Commit`].
//!
//! Guarantees: everything that was put is told of, or failed, once; what is put while the task ends is dropped with its waiter, so
//! that who waits must take a dropped channel for a process that goes. Limits: [`WriterOptions`].

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::StoreError;

/// How a writer works.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// Rows in one commit, 512 by default.
    pub rows: usize,
    /// Payload bytes in one commit, 4 MiB by default; one row may be larger.
    pub bytes: usize,
    /// Requests that wait for a commit, 4096 by default; beyond it callers are turned away.
    pub queue: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        Self { rows: 512, bytes: 4 << 20, queue: 4096 }
    }
}

/// Rows, and in the same order those who wait for them.
pub type Batch<C> = (Vec<<C as Commit>::Row>, Vec<<C as Commit>::Waiter>);

/// What a writer commits.
pub trait Commit: Send + Sync + 'static {
    /// What is put: a row with whoever waits for it.
    type Asked: Send;
    /// What is stored.
    type Row: Send + Sync;
    /// Who waits for it.
    type Waiter: Send;
    /// What became of it.
    type Fate: Send;

    /// The bytes it counts for.
    fn bytes(asked: &Self::Asked) -> usize;

    /// Rows that go into one commit. What shares a row shares its waiter.
    fn gather(&self, asked: Vec<Self::Asked>) -> Batch<Self>
    where
        Self: Sized;

    /// Commits these rows, and answers for each in order.
    fn store(&self, rows: &[Self::Row]) -> impl Future<Output = Result<Vec<Self::Fate>, StoreError>> + Send;

    /// Tells of what became of them. What it gives back is stored next: fewer than it was given, or it never ends.
    fn tell(&self, rows: Vec<Self::Row>, waiters: Vec<Self::Waiter>, fates: Vec<Self::Fate>) -> Batch<Self>
    where
        Self: Sized;

    /// Tells why they were not stored, or may not be.
    fn fail(&self, waiters: Vec<Self::Waiter>, error: StoreError);
}

/// No place in the queue, or the writer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much waits to be written")]
pub struct Full;

/// The way to the task. Cheap to clone; the task ends when the last clone is gone.
pub struct Writer<C: Commit>(mpsc::Sender<C::Asked>);

impl<C: Commit> Clone for Writer<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Commit> Writer<C> {
    /// Starts the task.
    pub fn start(commit: Arc<C>, options: WriterOptions, tasks: &TaskTracker) -> Self {
        let (queue, waiting) = mpsc::channel(options.queue);
        tasks.spawn(run(commit, options, waiting));
        Self(queue)
    }

    /// Puts one to be stored with whatever else waits. It does not wait for a place: that would hide the overload from the
    /// caller, who can come back.
    ///
    /// # Errors
    /// [`Full`].
    pub fn put(&self, asked: C::Asked) -> Result<(), Full> {
        self.0.try_send(asked).map_err(|_| Full)
    }
}

async fn run<C: Commit>(commit: Arc<C>, options: WriterOptions, mut waiting: mpsc::Receiver<C::Asked>) {
    let mut held = None;
    loop {
        let first = match held.take() {
            Some(first) => first,
            None => match waiting.recv().await {
                Some(first) => first,
                None => return,
            },
        };
        let mut bytes = C::bytes(&first);
        let mut asked = vec![first];
        // Nobody is waited for who is not here yet: measured, a wait makes larger commits and fewer requests per second.
        while asked.len() < options.rows {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += C::bytes(&next);
            if bytes > options.bytes {
                held = Some(next);
                break;
            }
            asked.push(next);
        }
        all(&*commit, commit.gather(asked)).await;
    }
}

/// Commits a batch; a refused one is halved until the bad row stands alone.
async fn all<C: Commit>(commit: &C, batch: Batch<C>) {
    let mut stack = vec![batch];
    while let Some((mut rows, mut waiters)) = stack.pop() {
        match commit.store(&rows).await {
            Ok(fates) => {
                let left = commit.tell(rows, waiters, fates);
                if !left.0.is_empty() {
                    stack.push(left);
                }
            }
            Err(StoreError::Refused(_) | StoreError::Undecided(_)) if rows.len() > 1 => {
                let half = rows.len() / 2;
                stack.push((rows.split_off(half), waiters.split_off(half)));
                stack.push((rows, waiters));
            }
            Err(error) => commit.fail(waiters, error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use tokio::sync::oneshot;

    use super::*;

    /// Takes numbers: 13 is refused, and of one commit only `most` are done at once.
    struct Numbers {
        most: usize,
        commits: Mutex<Vec<usize>>,
    }

    type Told = oneshot::Sender<Result<u64, String>>;

    impl Commit for Numbers {
        type Asked = (u64, Told);
        type Row = u64;
        type Waiter = Told;
        type Fate = Option<u64>;

        fn bytes(asked: &Self::Asked) -> usize {
            usize::try_from(asked.0).unwrap()
        }

        fn gather(&self, asked: Vec<Self::Asked>) -> Batch<Self> {
            asked.into_iter().unzip()
        }

        async fn store(&self, rows: &[u64]) -> Result<Vec<Option<u64>>, StoreError> {
            self.commits.lock().unwrap().push(rows.len());
            match rows.contains(&13) {
                true => Err(StoreError::Refused("13".to_owned())),
                false => Ok(rows.iter().enumerate().map(|(at, row)| (at < self.most).then_some(row * 2)).collect()),
            }
        }

        fn tell(&self, rows: Vec<u64>, waiters: Vec<Told>, fates: Vec<Option<u64>>) -> Batch<Self> {
            let mut left = (Vec::new(), Vec::new());
            for ((row, waiter), fate) in rows.into_iter().zip(waiters).zip(fates) {
                match fate {
                    Some(done) => waiter.send(Ok(done)).unwrap(),
                    None => {
                        left.0.push(row);
                        left.1.push(waiter);
                    }
                }
            }
            left
        }

        fn fail(&self, waiters: Vec<Told>, error: StoreError) {
            waiters.into_iter().for_each(|waiter| waiter.send(Err(error.to_string())).unwrap());
        }
    }

    /// The sizes of the commits that these numbers took, and what each was told.
    async fn commits(most: usize, options: WriterOptions, numbers: &[u64]) -> (Vec<usize>, Vec<Result<u64, String>>) {
        let commit = Arc::new(Numbers { most, commits: Mutex::default() });
        let tasks = TaskTracker::new();
        // One thread, so the task does not run before all are there.
        let writer = Writer::start(commit.clone(), options, &tasks);
        let mut answers = Vec::new();
        for number in numbers {
            let (tell, told) = oneshot::channel();
            match writer.put((*number, tell)) {
                Ok(()) => answers.push(Ok(told)),
                Err(full) => answers.push(Err(full.to_string())),
            }
        }
        drop(writer);
        tasks.close();
        tasks.wait().await;
        let mut told = Vec::new();
        for answer in answers {
            told.push(match answer {
                Ok(answer) => answer.await.unwrap(),
                Err(full) => Err(full),
            });
        }
        let sizes = commit.commits.lock().unwrap().clone();
        (sizes, told)
    }

    #[tokio::test]
    async fn what_waits_goes_together_within_rows_and_bytes() {
        let options = WriterOptions { rows: 3, bytes: 100, queue: 9 };
        let (sizes, told) = commits(9, options, &[1, 2, 3, 4, 99, 1]).await;
        assert_eq!(sizes, [3, 1, 2], "by rows, then by bytes");
        assert_eq!(told, [2, 4, 6, 8, 198, 2].map(Ok));
        let (sizes, told) = commits(9, WriterOptions { queue: 2, ..options }, &[500, 1, 1]).await;
        assert_eq!(sizes, [1, 1], "one may be larger than all may be");
        assert_eq!(told[..2], [Ok(1000), Ok(2)]);
        assert!(told[2].is_err(), "there was no place");
    }

    #[tokio::test]
    async fn a_bad_row_fails_alone() {
        let (_, told) = commits(9, WriterOptions::default(), &[1, 2, 13, 4, 5]).await;
        let failed: Vec<bool> = told.iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, false, true, false, false], "{told:?}");
    }

    #[tokio::test]
    async fn what_is_given_back_is_stored_next() {
        let (sizes, told) = commits(2, WriterOptions::default(), &[1, 2, 3, 4, 5]).await;
        assert_eq!((sizes, told), (vec![5, 3, 1], [2, 4, 6, 8, 10].map(Ok).to_vec()));
    }
}
