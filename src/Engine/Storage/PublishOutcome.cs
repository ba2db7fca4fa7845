namespace KvCache.Engine.Storage;

/// <summary>Answer to <see cref="BlockStore.Publish"/>.</summary>
internal enum PublishOutcome
{
    /// <summary>The block is visible.</summary>
    Published,

    /// <summary>Another generation is visible already; this one was given back. Both are right answers.</summary>
    AlreadyStored,

    /// <summary>The write was published, given back or revoked before, the block was deleted meanwhile, or the store is closed.</summary>
    Gone,
}
