using System.Numerics;

namespace KvCache.Engine.Storage;

/// <summary>A block was leased, or its last lease has ended, without the store's lock.</summary>
/// <param name="Entry">The block.</param>
/// <param name="Request">The request that uses it, 0 when nobody has named it; <see cref="None"/> for what is no use.</param>
/// <param name="Now">When, in milliseconds.</param>
/// <param name="Charged">Bytes that its account was charged in advance; see <see cref="TenantAccount.TryCharge"/>.</param>
internal readonly record struct BlockUse(BlockEntry Entry, long Request, long Now, long Charged)
{
    /// <summary>No use.</summary>
    public const long None = -1;
}

/// <summary>
/// What the store has not been told yet: uses of blocks, in the order in which they happened as far as one thread can tell. Whoever has the
/// store's lock next tells them all, so that a reader hardly ever takes it (Ding, Jiang and Zhang, "BP-Wrapper: a system framework making
/// any replacement algorithms (almost) lock contention free", ICDE 2009).
/// </summary>
/// <remarks>
/// In stripes, of which there is one until two threads meet in it (as in the striped counters of Doug Lea): what happens on one thread
/// after another keeps its order. Nothing is lost: a stripe that is full makes its thread wait for the store's lock. Thread-safe.
/// </remarks>
internal sealed class UseLog
{
    /// <summary>Uses that a stripe keeps.</summary>
    public const int Capacity = 64;

    private const int Due = 32; // from here on whoever finds the lock free tells them
    private static readonly int MostStripes = (int)BitOperations.RoundUpToPowerOf2((uint)Environment.ProcessorCount);
    private static int _probes;

    [ThreadStatic]
    private static int _probe;

    private Stripe[] _stripes = [new()];
    private volatile bool _hasNews;

    /// <summary>Whether there is something to tell.</summary>
    public bool HasNews => _hasNews;

    /// <summary>Stripes at present.</summary>
    public int Stripes => Volatile.Read(ref _stripes).Length;

    /// <summary>Adds a use.</summary>
    /// <param name="use">The use.</param>
    /// <param name="due">Whether it is time to tell.</param>
    /// <returns>False when there is no room before they are told.</returns>
    public bool TryAdd(in BlockUse use, out bool due)
    {
        var stripes = Volatile.Read(ref _stripes);
        var stripe = stripes[stripes.Length == 1 ? 0 : Probe() & (stripes.Length - 1)];
        if (!stripe.TryEnter())
        {
            Spread(stripes);
            stripe.Enter();
        }

        var added = stripe.Count < Capacity;
        if (added)
            stripe.Uses[stripe.Count++] = use;
        due = stripe.Count >= Due;
        stripe.Exit();
        if (added && !_hasNews)
            _hasNews = true;
        return added;
    }

    /// <summary>What is added from here on is news again. Under the store's lock, like <see cref="Take"/>.</summary>
    public void BeginToTell()
    {
        _hasNews = false;
        Interlocked.MemoryBarrier(); // who adds looks behind it, who tells before it
    }

    /// <summary>Takes what a stripe has.</summary>
    /// <returns>How many there are.</returns>
    public int Take(int stripe, Span<BlockUse> uses) => Volatile.Read(ref _stripes)[stripe].Take(uses);

    private static int Probe()
    {
        if (_probe == 0)
            _probe = Interlocked.Increment(ref _probes);
        return _probe;
    }

    // Two threads met: next time they shall not.
    private void Spread(Stripe[] stripes)
    {
        if (stripes.Length >= MostStripes)
            return;
        var more = new Stripe[2 * stripes.Length];
        stripes.CopyTo(more, 0);
        for (var i = stripes.Length; i < more.Length; i++)
            more[i] = new Stripe();
        Interlocked.CompareExchange(ref _stripes, more, stripes);
    }

    private sealed class Stripe
    {
        public readonly BlockUse[] Uses = new BlockUse[Capacity];
        public int Count;
        private int _entered;

        public bool TryEnter() => Interlocked.CompareExchange(ref _entered, 1, 0) == 0;

        public void Enter()
        {
            for (var wait = new SpinWait(); !TryEnter(); wait.SpinOnce())
            {
            }
        }

        public void Exit() => Interlocked.Exchange(ref _entered, 0);

        public int Take(Span<BlockUse> uses)
        {
            if (Volatile.Read(ref Count) == 0)
                return 0;
            Enter();
            var count = Count;
            Uses.AsSpan(0, count).CopyTo(uses);
            Count = 0;
            Exit();
            return count;
        }
    }
}
