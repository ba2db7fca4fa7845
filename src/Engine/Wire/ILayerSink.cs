namespace KvCache.Engine.Wire;

/// <summary>Hears on the connection's thread how a layer-major read gets on.</summary>
internal interface ILayerSink
{
    /// <summary>The silo has so many of the blocks, from the first on, and keeps them until they are read.</summary>
    void Promised(int blocks);

    /// <summary>A layer is complete and verified in so many blocks, from the first on. The number never rises from layer to
    /// layer.</summary>
    void Arrived(int layer, int blocks);
}
