namespace KvCache.Caching;

/// <summary>Which outcomes say that there was no room, whatever the reason.</summary>
internal static class NoRoomOutcomes
{
    /// <summary>Another silo may have room for such a block.</summary>
    public static bool IsNoRoom(this PutOutcome outcome) =>
        outcome is PutOutcome.NoMemory or PutOutcome.NoRoomInPrefix or PutOutcome.NoRoomInShare or PutOutcome.NotWorthRoom;
}
