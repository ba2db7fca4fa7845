using Orleans.Concurrency;

namespace KvCache.Orleans;

/// <summary>What a writer wants to store.</summary>
/// <remarks>
/// Either <see cref="Generation"/> names memory that the caller reserved in the block store of <see cref="Silo"/>, or
/// <see cref="Namespace"/> is given and the grain reserves the memory itself.
/// </remarks>
[GenerateSerializer, Immutable, Alias("KvCache.WriteIntent")]
public sealed record WriteIntent
{
    /// <summary>Id of a reservation in a silo's store; 0 to let the grain reserve in that of its own silo.</summary>
    [Id(0)]
    public ulong Generation { get; init; }

    /// <summary>The silo of the reservation; null where the grain reserves.</summary>
    [Id(5)]
    public SiloAddress? Silo { get; init; }

    /// <summary>A stored block is no reason to refuse: it is to be replaced.</summary>
    [Id(6)]
    public bool Replace { get; init; }

    /// <summary>Silos that should keep the block, where the grain reserves; 0 and 1 mean one.</summary>
    [Id(7)]
    public int Copies { get; init; }

    /// <summary>Whether the block is to be written to Redis, where the grain reserves.</summary>
    [Id(8)]
    public bool Persisted { get; init; }

    /// <summary>Canonical encoding of the namespace (<see cref="CacheNamespace.Encoded"/>), where the grain reserves.</summary>
    [Id(1)]
    public byte[]? Namespace { get; init; }

    /// <summary>Hash of the block before this one, 32 bytes; null for none.</summary>
    [Id(2)]
    public byte[]? Parent { get; init; }

    /// <summary>Index of the block in its chain, from 0.</summary>
    [Id(3)]
    public int Depth { get; init; }

    /// <summary>Life of the block from its sealing on, where the grain reserves; null for as long as memory lasts.</summary>
    [Id(4)]
    public TimeSpan? TimeToLive { get; init; }
}

/// <summary>Whether a write may go on, and under which id.</summary>
/// <param name="Outcome">The decision.</param>
/// <param name="Generation">Id of the write when it was accepted, else 0.</param>
[GenerateSerializer, Immutable, Alias("KvCache.WriteGrant")]
public readonly record struct WriteGrant([property: Id(0)] BeginOutcome Outcome, [property: Id(1)] ulong Generation);

/// <summary>Answer to <see cref="IPrefixGrain.SealAsync"/>.</summary>
[GenerateSerializer]
public enum SealOutcome
{
    /// <summary>The block is visible.</summary>
    Sealed,

    /// <summary>Another generation is visible; this one was given back.</summary>
    AlreadyStored,

    /// <summary>The write was revoked: the block was deleted meanwhile, or the write took longer than its limit.</summary>
    Revoked,

    /// <summary>Bytes of the block are missing; the write was given back.</summary>
    Incomplete,
}

/// <summary>What is known of a stored block.</summary>
/// <param name="Generation">Id of the write that produced it.</param>
/// <param name="Layers">Number of layers.</param>
/// <param name="Bytes">Size in bytes.</param>
[GenerateSerializer, Immutable, Alias("KvCache.BlockDescription")]
public sealed record BlockDescription([property: Id(0)] ulong Generation, [property: Id(1)] int Layers, [property: Id(2)] int Bytes);

/// <summary>Layers of one generation: the bytes themselves, or where to fetch them.</summary>
[GenerateSerializer, Immutable, Alias("KvCache.LayerReading")]
public sealed record LayerReading
{
    /// <summary>Id of the write that produced the bytes.</summary>
    [Id(0)]
    public required ulong Generation { get; init; }

    /// <summary>CRC-32 of every layer of the run.</summary>
    [Id(1)]
    public required uint[] Checksums { get; init; }

    /// <summary>Size of every layer of the run, in bytes.</summary>
    [Id(4)]
    public required int[] LayerBytes { get; init; }

    /// <summary>The bytes, when the run is small; else null.</summary>
    [Id(2)]
    public byte[]? Inline { get; init; }

    /// <summary>Data-plane addresses of the holder, when the run is too large for a message: <c>tcp:host:port</c> or
    /// <c>unix:path</c>.</summary>
    [Id(3)]
    public string[] Endpoints { get; init; } = [];
}
