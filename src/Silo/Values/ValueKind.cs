namespace KvCache.Silo.Values;

/// <summary>What a value is to the protocol that stores it. The tokens of its layout say so, which values have none of: so it goes wherever
/// the block goes.</summary>
internal enum ValueKind
{
    /// <summary>Bytes.</summary>
    Bytes = 1,

    /// <summary>Fields with names (<see cref="FieldTable"/>).</summary>
    Fields = 2,
}
