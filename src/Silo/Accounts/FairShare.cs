using System.Diagnostics.Metrics;
using KvCache.Silo.Telemetry;

namespace KvCache.Silo.Accounts;

/// <summary>
/// Shares the work of a busy silo between tenants. A silo serves a few requests at a time well, about two a core; while fewer run, nobody
/// waits. Beyond that whoever has more requests running than its part waits for its turn, and whoever has fewer goes on at once: it pays
/// for nobody's load but its own.
/// </summary>
/// <remarks>
/// A request that is slow, because its client is, counts for <see cref="Lapse"/> only, so that clients that stand still hold nothing up;
/// long transfers take a new turn with every block. A wait is never longer than <see cref="Patience"/>.
/// </remarks>
internal sealed class FairShare : IDisposable
{
    /// <summary>Time that a request counts as running.</summary>
    public static readonly TimeSpan Lapse = TimeSpan.FromMilliseconds(100);

    /// <summary>Longest wait for a turn.</summary>
    public static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    // A transfer keeps its turn for so long before it gives way to those who wait.
    private static readonly TimeSpan Slice = TimeSpan.FromMilliseconds(5);

    private readonly Func<string, double> _partOf;
    private readonly int _slots;
    private readonly TimeProvider _time;
    private readonly Lock _lock = new();
    private readonly Dictionary<string, Line> _lines = new(StringComparer.Ordinal);
    private readonly HashSet<Turn> _turns = [];
    private readonly Meter _meter = new(SiloCounters.MeterName);
    private readonly Counter<long> _waits;
    private int _busy;
    private int _waiting;

    /// <summary>Creates a share for all front ends of a silo.</summary>
    /// <param name="partOf">The part of the silo that is a tenant's, 0 to 1.</param>
    /// <param name="slots">Requests that run at a time before anybody waits; 0 for two a core, and four at least.</param>
    /// <param name="time">Clock of lapses and waits.</param>
    public FairShare(Func<string, double> partOf, int slots = 0, TimeProvider? time = null)
    {
        _partOf = partOf;
        _slots = slots > 0 ? slots : Math.Max(4, 2 * Environment.ProcessorCount);
        _time = time ?? TimeProvider.System;
        _waits = _meter.CreateCounter<long>(
            "kvcache.requests.waited", "{request}",
                "Requests that waited for their turn, as their tenant had more than its part of a busy silo.");
    }

    /// <summary>Requests that count as running.</summary>
    public int Busy => Volatile.Read(ref _busy);

    /// <summary>Requests that wait.</summary>
    public int Waiting => Volatile.Read(ref _waiting);

    /// <summary>Makes a place for the requests of one connection, one at a time.</summary>
    public Turn Register(string tenant)
    {
        lock (_lock)
        {
            if (!_lines.TryGetValue(tenant, out var line))
                _lines.Add(tenant, line = new Line(tenant));
            line.Members++;
            var turn = new Turn(this, line);
            _turns.Add(turn);
            return turn;
        }
    }

    public void Dispose() => _meter.Dispose();

    private bool TryEnter(Turn turn)
    {
        Volatile.Write(ref turn.Since, _time.GetTimestamp());
        var mine = Interlocked.Increment(ref turn.Line.Busy);
        if (Interlocked.Increment(ref _busy) <= _slots || mine <= PartOf(turn.Line))
        {
            Volatile.Write(ref turn.Counts, 1);
            return true;
        }

        Interlocked.Decrement(ref turn.Line.Busy);
        Interlocked.Decrement(ref _busy);
        return false;
    }

    private void Leave(Turn turn)
    {
        if (!Uncount(turn) || Volatile.Read(ref _waiting) == 0)
            return;
        lock (_lock)
            Admit();
    }

    private static bool Take(ref int counts) => Interlocked.Exchange(ref counts, 0) == 1;

    private bool Uncount(Turn turn)
    {
        if (!Take(ref turn.Counts))
            return false;
        Interlocked.Decrement(ref turn.Line.Busy);
        Interlocked.Decrement(ref _busy);
        return true;
    }

    private int PartOf(Line line)
    {
        var part = _partOf(line.Tenant);
        return part >= 1 ? int.MaxValue : Math.Max(1, (int)(part * _slots));
    }

    private async ValueTask<TimeSpan> WaitAsync(Turn turn)
    {
        var began = _time.GetTimestamp();
        _waits.Add(1, new KeyValuePair<string, object?>("tenant", turn.Line.Tenant));
        var admitted = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_lock)
        {
            turn.Admitted = admitted;
            turn.Line.Queue.AddLast(turn);
            Interlocked.Increment(ref _waiting);
        }

        while (true)
        {
            lock (_lock)
            {
                EndSlow();
                Admit();
                if (!admitted.Task.IsCompleted && _time.GetElapsedTime(began) >= Patience)
                    Admit(turn); // over its part, but it has waited long enough
            }

            // Wakes up for turns that have lapsed meanwhile, of which nobody tells.
            await admitted.Task.WaitAsync(Lapse).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (admitted.Task.IsCompleted)
                return _time.GetElapsedTime(began);
        }
    }

    private void EndSlow()
    {
        foreach (var turn in _turns)
        {
            if (Volatile.Read(ref turn.Counts) == 1 && _time.GetElapsedTime(Volatile.Read(ref turn.Since)) >= Lapse)
                Uncount(turn);
        }
    }

    // First who has the least of what is its own.
    private void Admit()
    {
        while (Volatile.Read(ref _waiting) > 0)
        {
            Line? next = null;
            var least = double.MaxValue;
            foreach (var line in _lines.Values)
            {
                if (line.Queue.Count > 0 && Volatile.Read(ref line.Busy) / Math.Max(_partOf(line.Tenant), 1e-6) is var use && use < least)
                    (next, least) = (line, use);
            }

            if (next is null || (Volatile.Read(ref _busy) >= _slots && Volatile.Read(ref next.Busy) >= PartOf(next)))
                return;
            Admit(next.Queue.First!.Value);
        }
    }

    private void Admit(Turn turn)
    {
        turn.Line.Queue.Remove(turn);
        Interlocked.Decrement(ref _waiting);
        Volatile.Write(ref turn.Since, _time.GetTimestamp());
        Interlocked.Increment(ref turn.Line.Busy);
        Interlocked.Increment(ref _busy);
        Volatile.Write(ref turn.Counts, 1);
        turn.Admitted!.SetResult();
    }

    private void Remove(Turn turn)
    {
        Leave(turn);
        lock (_lock)
        {
            if (_turns.Remove(turn) && --turn.Line.Members == 0)
                _lines.Remove(turn.Line.Tenant);
        }
    }

    /// <summary>The requests of one connection: one at a time runs, or waits for its turn.</summary>
    internal sealed class Turn : IDisposable
    {
        private readonly FairShare _share;

        // Whether it counts as running, and since when.
        internal int Counts;
        internal long Since;

        internal Turn(FairShare share, Line line)
        {
            _share = share;
            Line = line;
        }

        internal Line Line { get; }

        internal TaskCompletionSource? Admitted { get; set; }

        /// <summary>A request begins. Blocks the thread until it is its turn.</summary>
        /// <returns>How long that took.</returns>
        public TimeSpan Begin() => _share.TryEnter(this) ? TimeSpan.Zero : _share.WaitAsync(this).AsTask().GetAwaiter().GetResult();

        /// <summary>A request begins.</summary>
        public ValueTask BeginAsync() => _share.TryEnter(this) ? default : new ValueTask(_share.WaitAsync(this).AsTask());

        /// <summary>A part of a request is over, and others may have a turn before the next one. Blocks the thread.</summary>
        /// <returns>How long that took.</returns>
        public TimeSpan Continue()
        {
            if (Volatile.Read(ref Counts) == 1 && (_share.Waiting == 0 || _share._time.GetElapsedTime(Since) < Slice))
                return TimeSpan.Zero;
            End();
            return Begin();
        }

        /// <summary>The request is over.</summary>
        public void End() => _share.Leave(this);

        /// <summary>There are no more requests.</summary>
        public void Dispose() => _share.Remove(this);
    }

    /// <summary>A tenant's requests.</summary>
    internal sealed class Line(string tenant)
    {
        internal int Busy;

        public string Tenant => tenant;

        public int Members { get; set; }

        public LinkedList<Turn> Queue { get; } = [];
    }
}
