using KvCache.Orleans;
using KvCache.SimulationTests.Worlds;
using Orleans;
using Orleans.Concurrency;
using Orleans.Runtime;

namespace KvCache.SimulationTests.Model;

/// <summary>Gives references to prefix grains, whose calls are messages of the schedule.</summary>
internal sealed class ModelGrainFactory(World world, ModelSilo silo) : IGrainFactory
{
    private readonly PrefixReference?[] _references = new PrefixReference?[TestBlocks.Count];

    public PrefixReference Prefix(int block) => _references[block] ??= new PrefixReference(world, silo, block);

    public TGrainInterface GetGrain<TGrainInterface>(string primaryKey, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithStringKey =>
            (TGrainInterface)(IGrainWithStringKey)Prefix(Array.IndexOf(TestBlocks.GrainKeys, primaryKey));

    public TGrainInterface GetGrain<TGrainInterface>(Guid primaryKey, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithGuidKey => throw new NotSupportedException();

    public TGrainInterface GetGrain<TGrainInterface>(long primaryKey, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithIntegerKey => throw new NotSupportedException();

    public TGrainInterface GetGrain<TGrainInterface>(Guid primaryKey, string keyExtension, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithGuidCompoundKey => throw new NotSupportedException();

    public TGrainInterface GetGrain<TGrainInterface>(long primaryKey, string keyExtension, string? grainClassNamePrefix = null)
        where TGrainInterface : IGrainWithIntegerCompoundKey => throw new NotSupportedException();

    public TGrainObserverInterface CreateObjectReference<TGrainObserverInterface>(IGrainObserver obj)
        where TGrainObserverInterface : IGrainObserver => throw new NotSupportedException();

    public void DeleteObjectReference<TGrainObserverInterface>(IGrainObserver obj)
        where TGrainObserverInterface : IGrainObserver => throw new NotSupportedException();

    public IGrain GetGrain(Type grainInterfaceType, Guid grainPrimaryKey) => throw new NotSupportedException();

    public IGrain GetGrain(Type grainInterfaceType, long grainPrimaryKey) => throw new NotSupportedException();

    public IGrain GetGrain(Type grainInterfaceType, string grainPrimaryKey) => throw new NotSupportedException();

    public IGrain GetGrain(Type grainInterfaceType, Guid grainPrimaryKey, string keyExtension) => throw new NotSupportedException();

    public IGrain GetGrain(Type grainInterfaceType, long grainPrimaryKey, string keyExtension) => throw new NotSupportedException();

    public TGrainInterface GetGrain<TGrainInterface>(GrainId grainId)
        where TGrainInterface : IAddressable => throw new NotSupportedException();

    public IAddressable GetGrain(GrainId grainId) => throw new NotSupportedException();

    public IAddressable GetGrain(Type interfaceType, IdSpan grainKey) => throw new NotSupportedException();

    public IAddressable GetGrain(Type interfaceType, IdSpan grainKey, string grainClassNamePrefix) => throw new NotSupportedException();

    public IAddressable GetGrain(GrainId grainId, GrainInterfaceType interfaceType) => throw new NotSupportedException();
}

/// <summary>A reference to a prefix grain.</summary>
internal sealed class PrefixReference(World world, ModelSilo silo, int block) : IPrefixGrain
{
    /// <summary>Number of the write whose memory the grain reserves in the next call.</summary>
    public ulong NextWrite { get; set; }

    public ValueTask<WriteGrant> BeginAsync(WriteIntent intent, CancellationToken cancellationToken)
    {
        var number = NextWrite;
        return Call("begin", async activation =>
        {
            Write[] rivals =
                [.. world.History.All.Where(
                write => write.AcceptedBy == activation && world.IsAlive(write.Silo) && world.IsRunning(write))];
            var asked = activation.Silo.Clock.GetUtcNow();
            var grant = await activation.Grain.BeginAsync(intent, cancellationToken);
            if (grant.Outcome == BeginOutcome.Accepted)
                world.Accepted(activation, grant.Generation, intent.Generation == 0 ? number : 0, rivals, asked);
            return grant;
        });
    }

    public ValueTask<bool> WriteAsync(ulong generation, int offset, Immutable<byte[]> piece, CancellationToken cancellationToken) =>
        Call("write", activation => activation.Grain.WriteAsync(generation, offset, piece, cancellationToken));

    public ValueTask<SealOutcome> SealAsync(ulong generation, CancellationToken cancellationToken) =>
        Call("seal", async activation =>
        {
            var running = activation.Silo.Store.IsWriting(TestBlocks.Keys[block], generation);
            var outcome = await activation.Grain.SealAsync(generation, cancellationToken);
            if (outcome == SealOutcome.Sealed)
                world.Sealed(block, generation, activation.Silo, running);
            return outcome;
        });

    public async ValueTask AbandonAsync(ulong generation, CancellationToken cancellationToken) => await Call("abandon", async activation =>
    {
        await activation.Grain.AbandonAsync(generation, cancellationToken);
        return true;
    });

    public ValueTask<BlockDescription?> DescribeAsync(CancellationToken cancellationToken) =>
        Call("describe", activation => activation.Grain.DescribeAsync(cancellationToken));

    public ValueTask<LayerReading?> ReadLayersAsync(int firstLayer, int layerCount, CancellationToken cancellationToken) =>
        Call("read", activation => activation.Grain.ReadLayersAsync(firstLayer, layerCount, cancellationToken));

    public ValueTask<bool> PinAsync(TimeSpan duration, CancellationToken cancellationToken) =>
        Call("pin", activation => activation.Grain.PinAsync(duration, cancellationToken));

    public ValueTask<bool> SetTimeToLiveAsync(TimeSpan timeToLive, CancellationToken cancellationToken) =>
        Call("set life", activation => activation.Grain.SetTimeToLiveAsync(timeToLive, cancellationToken));

    public ValueTask<bool> DeleteAsync(CancellationToken cancellationToken) =>
        Call("delete", activation => world.DeleteFrom(activation.Silo, block, () => activation.Grain.DeleteAsync(cancellationToken)));

    private ValueTask<T> Call<T>(string text, Func<Activation, ValueTask<T>> call) => new(world.Grains.Call(text, block, silo, call));
}
