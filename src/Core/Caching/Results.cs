namespace KvCache;

/// <summary>How much of a prefix is stored.</summary>
public sealed class CacheMatch : IAsyncDisposable
{
    private Func<ValueTask>? _release;

    /// <summary>Creates a match.</summary>
    /// <param name="blocks">Blocks found from the first on.</param>
    /// <param name="tokensPerBlock">Tokens of a block.</param>
    /// <param name="reason">Why not more.</param>
    /// <param name="release">Ends the hold, or null when there is none.</param>
    public CacheMatch(int blocks, int tokensPerBlock, MissReason reason, Func<ValueTask>? release = null)
    {
        Blocks = blocks;
        Tokens = blocks * tokensPerBlock;
        Reason = reason;
        _release = release;
    }

    /// <summary>Blocks found, counted from the first of the prefix. It is advice: the load is the truth.</summary>
    public int Blocks { get; }

    /// <summary>Tokens of the found blocks.</summary>
    public int Tokens { get; }

    /// <summary>Why not more; <see cref="MissReason.None"/> when the whole prefix was found.</summary>
    public MissReason Reason { get; }

    /// <summary>What went wrong, in a sentence; null when nothing did.</summary>
    public string? Error { get; init; }

    /// <summary>Whether found blocks are kept from eviction.</summary>
    public bool Held => _release is not null;

    /// <summary>What the cache that has answered knows of it, for the loads that follow.</summary>
    internal object? Origin { get; init; }

    /// <summary>Ends the hold.</summary>
    public ValueTask DisposeAsync() => Interlocked.Exchange(ref _release, null)?.Invoke() ?? default;
}

/// <summary>Outcome of a load.</summary>
/// <param name="Blocks">Blocks that are complete and verified, counted from the first destination.</param>
/// <param name="Reason">Why not more; <see cref="MissReason.None"/> when all were loaded.</param>
public readonly record struct LoadResult(int Blocks, MissReason Reason)
{
    /// <summary>What went wrong, in a sentence; null when nothing did, or blocks were only absent. Not part of equality.</summary>
    public string? Error { get; init; }

    /// <inheritdoc/>
    public bool Equals(LoadResult other) => (Blocks, Reason) == (other.Blocks, other.Reason);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Blocks, Reason);
}

/// <summary>A layer that a layer-wise load hands over.</summary>
/// <param name="Layer">Index of the layer in a block.</param>
/// <param name="Blocks">
/// The layer, like all layers before it, is complete and verified in so many blocks, counted from the first destination. The number never
/// rises from one layer to the next; with 0
/// the load is over.
/// </param>
/// <param name="Reason">Why not in all blocks; <see cref="MissReason.None"/> when it is in all.</param>
public readonly record struct LoadedLayer(int Layer, int Blocks, MissReason Reason)
{
    /// <summary>What went wrong, in a sentence; null when nothing did, or blocks were only absent. Not part of equality.</summary>
    public string? Error { get; init; }

    /// <inheritdoc/>
    public bool Equals(LoadedLayer other) => (Layer, Blocks, Reason) == (other.Layer, other.Blocks, other.Reason);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Layer, Blocks, Reason);
}

/// <summary>Outcome of a store, in blocks.</summary>
/// <param name="Stored">Stored by this call.</param>
/// <param name="AlreadyStored">Found stored, and not sent or not used.</param>
/// <param name="Refused">Not stored: no memory, another writer, revoked, or damaged on the way.</param>
/// <param name="Reason">Why the call ended early, or <see cref="MissReason.None"/>.</param>
/// <param name="FirstRefusal">Outcome of the first refused block, or null.</param>
public readonly record struct StoreResult(int Stored, int AlreadyStored, int Refused, MissReason Reason, PutOutcome? FirstRefusal)
{
    /// <summary>What went wrong, in a sentence; null when nothing did. Not part of equality.</summary>
    public string? Error { get; init; }

    /// <inheritdoc/>
    public bool Equals(StoreResult other) => (Stored, AlreadyStored, Refused, Reason, FirstRefusal)
        == (other.Stored, other.AlreadyStored, other.Refused, other.Reason, other.FirstRefusal);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Stored, AlreadyStored, Refused, Reason, FirstRefusal);

    /// <summary>What became of this one and of a later one together; of reasons, refusals and errors the first.</summary>
    public StoreResult Add(StoreResult other) => new(
        Stored + other.Stored, AlreadyStored + other.AlreadyStored, Refused + other.Refused,
        Reason == MissReason.None ? other.Reason : Reason, FirstRefusal ?? other.FirstRefusal)
    {
        Error = Error ?? other.Error,
    };

    /// <summary>Adds what became of one block.</summary>
    public StoreResult With(PutOutcome outcome) => outcome switch
    {
        PutOutcome.Stored => this with { Stored = Stored + 1 },
        PutOutcome.AlreadyStored => this with { AlreadyStored = AlreadyStored + 1 },
        _ => this with { Refused = Refused + 1, FirstRefusal = FirstRefusal ?? outcome },
    };
}

/// <summary>Outcome of a deletion.</summary>
/// <param name="Deleted">Blocks that were stored somewhere, and are certainly deleted everywhere.</param>
/// <param name="IsConfirmed">Whether nothing is left of what was named. Without it a silo or Redis has not answered, or the answer was not
/// waited for: the deletion goes on as far as it was understood, and asking again tells how it ended. Blocks that nobody had do not make a
/// deletion unconfirmed.</param>
public readonly record struct DeleteResult(int Deleted, bool IsConfirmed)
{
    /// <summary>What became of this one and another one together.</summary>
    public DeleteResult Add(DeleteResult other) => new(Deleted + other.Deleted, IsConfirmed && other.IsConfirmed);
}
