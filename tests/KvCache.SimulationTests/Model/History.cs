using KvCache.Engine.Storage;
using KvCache.SimulationTests.Engine;

namespace KvCache.SimulationTests.Model;

/// <summary>One write of a block, and everything that the outside was told about it.</summary>
internal sealed class Write(int block, ulong generation, ulong id, int silo)
{
    public int Block => block;

    /// <summary>Its generation; a replacing write gets a new one when it becomes visible.</summary>
    public ulong Generation { get; set; } = generation;

    /// <summary>What its bytes say.</summary>
    public ulong Id => id;

    public int Silo => silo;

    /// <summary>All bytes were there, intact, and its writer asked for it to become visible.</summary>
    public bool Offered { get; set; }

    /// <summary>Its writer was told that it is visible.</summary>
    public bool Sealed { get; set; }

    /// <summary>
    /// Coordinator of a delete that began after it was sealed, gave a later stamp, and has ended without the confirmation of every silo; -1
    /// for none.
    /// </summary>
    public int DeletedBy { get; set; } = -1;

    /// <summary>Life that its writer asked for; null for as long as memory lasts.</summary>
    public TimeSpan? Life { get; set; }

    /// <summary>A delete that began after it was sealed has ended, and every silo has confirmed it.</summary>
    public bool Deleted { get; set; }

    /// <summary>Latest end of life that anybody gave it, on the clock of whoever did.</summary>
    public DateTimeOffset? ExpiresAt { get; set; }

    /// <summary>
    /// When it is gone everywhere, as a life that was set and confirmed says, on the clock of any silo; null for no promise.
    /// </summary>
    public DateTimeOffset? PromisedEnd { get; set; }

    /// <summary>Its prefix' activation that accepted it.</summary>
    public object? AcceptedBy { get; set; }

    /// <summary>When it was asked, by its clock.</summary>
    public DateTimeOffset AcceptedAt { get; set; }

    public override string ToString() => $"K{block} #{id} of S{silo} (generation {Short(Generation)})";

    public static string Short(ulong generation) =>
        $"{((long)(generation >> GenerationClock.Shift)) - VirtualTime.Start.ToUnixTimeMilliseconds()}ms"
        + $"+{generation & ((1 << GenerationClock.Shift) - 1)}";
}

/// <summary>All writes of a schedule.</summary>
internal sealed class History
{
    private readonly Dictionary<(int Block, ulong Generation), Write> _writes = [];
    private readonly List<Write> _all = [];

    public IReadOnlyList<Write> All => _all;

    /// <summary>Number of a new write.</summary>
    public ulong NextId { get; private set; }

    public ulong NewId() => ++NextId;

    public Write Begin(int block, ulong generation, ulong id, int silo)
    {
        var write = new Write(block, generation, id, silo);
        if (!_writes.TryAdd((block, generation), write))
            throw new BrokenRuleException($"{write} has the generation of {_writes[(block, generation)]}");
        _all.Add(write);
        return write;
    }

    /// <summary>A replacing write became visible.</summary>
    public void Renumber(Write write, ulong generation)
    {
        write.Generation = generation;
        if (!_writes.TryAdd((write.Block, generation), write))
            throw new BrokenRuleException($"{write} has the generation of {_writes[(write.Block, generation)]}");
    }

    public Write? Find(int block, ulong generation) => _writes.GetValueOrDefault((block, generation));
}

/// <summary>A rule of the design was broken.</summary>
internal sealed class BrokenRuleException(string message) : Exception(message);
