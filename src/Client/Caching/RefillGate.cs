namespace KvCache.Client.Caching;

/// <summary>
/// Lets a delete win over loads that run beside it: what was read before the delete may not be copied into the near cache after it.
/// </summary>
/// <remarks>
/// A load takes an <see cref="Epoch"/> before it reads and copies inside of it. A delete ends the epoch when the far cache has deleted:
/// later copies of earlier reads are
/// refused, and those that have begun are waited for, so that the delete in the near cache sees them. Thread-safe.
/// </remarks>
internal sealed class RefillGate
{
    private readonly Lock _lock = new();
    private Epoch _current = new();

    /// <summary>The epoch of a read that begins now.</summary>
    public Epoch Current
    {
        get
        {
            lock (_lock)
                return _current;
        }
    }

    /// <summary>Begins to copy what was read in an epoch; false when a delete has ended it. Every success is followed by <see
    /// cref="Leave"/>.</summary>
    public bool TryEnter(Epoch epoch)
    {
        lock (_lock)
        {
            if (epoch != _current)
                return false;
            epoch.Inside++;
            return true;
        }
    }

    /// <summary>The copy is made.</summary>
    public void Leave(Epoch epoch)
    {
        lock (_lock)
        {
            if (--epoch.Inside == 0)
                epoch.Empty?.SetResult();
        }
    }

    /// <summary>Ends the current epoch and waits for the copies that have begun in it.</summary>
    public Task EndEpochAsync()
    {
        lock (_lock)
        {
            var ended = _current;
            _current = new Epoch();
            if (ended.Inside == 0)
                return Task.CompletedTask;
            ended.Empty = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            return ended.Empty.Task;
        }
    }

    /// <summary>The time between two deletes.</summary>
    internal sealed class Epoch
    {
        /// <summary>Copies that are being made.</summary>
        public int Inside { get; set; }

        /// <summary>Completes with the last of them, once the epoch has ended.</summary>
        public TaskCompletionSource? Empty { get; set; }
    }
}
