namespace KvCache.Engine.Wire;

/// <summary>What became of one block of a pin, a delete or a change of life.</summary>
internal enum ItemOutcome : byte
{
    /// <summary>Nothing: the block is not stored, or pins would take more than their share.</summary>
    Nothing = 0,

    /// <summary>Done, and confirmed by everybody whom it concerns.</summary>
    Done = 1,

    /// <summary>
    /// Not confirmed: a silo, or Redis, that may have the block did not answer. A deletion goes on in the background; a pin may hold or
    /// not; where a life was not heard of, the block keeps the one that it has.
    /// </summary>
    Unconfirmed = 2,
}
