namespace KvCache.Engine.Wire;

/// <summary>A hold of a match whose blocks are read.</summary>
/// <param name="Id">The id that the silo gave it; 0 for none.</param>
/// <param name="Ends">Whether it ends with the last byte of the read.</param>
internal readonly record struct HoldToRead(ulong Id, bool Ends);
