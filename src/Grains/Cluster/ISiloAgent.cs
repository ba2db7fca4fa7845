using Orleans.Services;

namespace KvCache.Grains;

/// <summary>What silos ask of one another about blocks; addressed to one silo, never placed.</summary>
[Alias("KvCache.ISiloAgent")]
internal interface ISiloAgent : IGrainService
{
    /// <summary>How to reach the silo's data plane, and what it serves.</summary>
    [Alias("Describe")]
    ValueTask<SiloCard> DescribeAsync();

    /// <summary>Whether the silo's store has a block.</summary>
    [Alias("Contains")]
    ValueTask<bool> ContainsAsync(BlockKey key);

    /// <summary>What has become of a write in the silo's store.</summary>
    [Alias("StateOfWrite")]
    ValueTask<WriteState> StateOfWriteAsync(BlockKey key, ulong generation);

    /// <summary>Keeps a write of the silo from becoming visible.</summary>
    [Alias("Revoke")]
    ValueTask RevokeAsync(BlockKey key, ulong generation);

    /// <summary>Deletes blocks from the silo's store; those of a generation below the stamp at least, and everything that is there
    /// now.</summary>
    /// <param name="keys">The blocks.</param>
    /// <param name="stamp">Stamp of the deletion.</param>
    /// <returns>What was there. Nobody else is told of it: that is the caller's to do, who asks everybody.</returns>
    [Alias("Delete")]
    ValueTask<DeletionReport> DeleteAsync(BlockKey[] keys, ulong stamp);

    /// <summary>Tells the silo the stamp of deletions that it was asked for before, where another silo gave a later one.</summary>
    /// <param name="keys">The blocks.</param>
    /// <param name="stamp">The latest stamp.</param>
    [Alias("Bury")]
    ValueTask<bool> BuryAsync(BlockKey[] keys, ulong stamp);

    /// <summary>Keeps a block of the silo from eviction.</summary>
    [Alias("Pin")]
    ValueTask<bool> PinAsync(BlockKey key, TimeSpan duration);

    /// <summary>Sets the life of blocks of the silo: of generations below the stamp at least, also of those that get there a moment
    /// later.</summary>
    /// <param name="keys">The blocks.</param>
    /// <param name="timeToLive">Their life, from now on.</param>
    /// <param name="stamp">Stamp of the change; a silo keeps the one with the latest.</param>
    /// <returns>For each whether the silo has it; null when it is being written to Redis, which has not confirmed.</returns>
    [Alias("SetTimeToLive")]
    ValueTask<bool?[]> SetTimeToLiveAsync(BlockKey[] keys, TimeSpan timeToLive, ulong stamp);

    /// <summary>Tells what is known of a chain after it was used.</summary>
    /// <param name="last">The last block of it that the silo has.</param>
    /// <param name="hint">What is known.</param>
    /// <returns>Whether the silo has the block.</returns>
    [Alias("Hint")]
    ValueTask<bool> HintAsync(BlockKey last, SiloHint hint);

    /// <summary>Tells changes of tenants, and hears those that the silo knows.</summary>
    [Alias("ExchangeTenants")]
    ValueTask<byte[]> ExchangeTenantsAsync(byte[] book);

    /// <summary>Bytes of a tenant in the silo's memory.</summary>
    [Alias("BytesOfTenant")]
    ValueTask<long> BytesOfTenantAsync(string tenant);

    /// <summary>Says that another silo is about to leave: nothing is to be given to it any more.</summary>
    /// <returns>Arena bytes that nothing has to go for, where its blocks could go.</returns>
    [Alias("Leaving")]
    ValueTask<long> LeavingAsync(SiloAddress silo);

    /// <summary>Takes copies of blocks, to be kept like blocks that were stored there.</summary>
    /// <param name="keys">The blocks.</param>
    /// <param name="from">A silo that has them.</param>
    /// <returns>Number of blocks that the silo has now.</returns>
    [Alias("Copy")]
    ValueTask<int> CopyAsync(BlockKey[] keys, SiloAddress from);
}

/// <summary>A hint between silos.</summary>
/// <param name="End">How the answer ended, as on the data plane.</param>
/// <param name="Priority">0 to 100, or nothing said.</param>
/// <param name="Retention">How long the blocks are to go last, or nothing said.</param>
/// <param name="Ends">Whether the request is over.</param>
[GenerateSerializer, Immutable, Alias("KvCache.SiloHint")]
internal sealed record SiloHint(
    [property: Id(0)] byte End, [property: Id(1)] int? Priority, [property: Id(2)] TimeSpan? Retention, [property: Id(3)] bool Ends)
{
    public static SiloHint Of(CacheHint hint, bool ends) => new((byte)hint.End, hint.Priority, hint.Retention, ends);

    public CacheHint ToHint() => new() { End = (AnswerEnd)End, Priority = Priority, Retention = Retention };
}

/// <summary>What a silo had of blocks that were deleted.</summary>
/// <param name="Removed">For each block, whether it was visible.</param>
/// <param name="Known">For each block, whether it was there in any form, or the silo's index named a holder.</param>
/// <param name="Stamp">The stamp of the deletions there: at least the given one, and larger than everything that was there.</param>
/// <param name="IsUnwritten">Whether a kill of the silo now may bring blocks back: its disk stands still.</param>
[GenerateSerializer, Immutable, Alias("KvCache.DeletionReport")]
public sealed record DeletionReport(
    [property: Id(0)] bool[] Removed, [property: Id(1)] bool[] Known, [property: Id(2)] ulong Stamp, [property: Id(3)] bool IsUnwritten);

/// <summary>What has become of a write.</summary>
[GenerateSerializer]
internal enum WriteState
{
    /// <summary>It ended without a block, or its silo does not answer.</summary>
    Gone,

    /// <summary>It is still running.</summary>
    Running,

    /// <summary>The block is visible on the writer's silo, by this write or another; the index may not know it yet.</summary>
    Stored,
}

/// <summary>How to reach a silo.</summary>
/// <param name="Endpoints">Data-plane addresses that other machines reach.</param>
/// <param name="OldestWire">Oldest version of the data plane protocol that it understands.</param>
/// <param name="Wire">Its newest one; 0 from silos that did not tell.</param>
[GenerateSerializer, Immutable, Alias("KvCache.SiloCard")]
internal sealed record SiloCard([property: Id(0)] string[] Endpoints, [property: Id(1)] ushort OldestWire, [property: Id(2)] ushort Wire);
