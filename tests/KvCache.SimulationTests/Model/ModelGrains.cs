using System.Runtime.CompilerServices;
using KvCache.Grains.Prefixes;
using KvCache.Silo.Hosting;
using KvCache.SimulationTests.Worlds;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;

namespace KvCache.SimulationTests.Model;

/// <summary>An activation of a prefix grain. As in Orleans, it serves one call at a time.</summary>
internal sealed class Activation(ModelSilo silo, int block, PrefixGrain grain)
{
    private Task _last = Task.CompletedTask;

    public ModelSilo Silo => silo;

    public int Block => block;

    public PrefixGrain Grain => grain;

    public bool IsIdle => _last.IsCompleted;

    public DateTimeOffset LastUsed { get; private set; }

    /// <summary>A question about its writer, or the order to end it, was lost: it cannot know.</summary>
    public bool LostTouch { get; set; }

    public async Task<T> Run<T>(Func<PrefixGrain, ValueTask<T>> call)
    {
        var before = _last;
        var done = new TaskCompletionSource();
        _last = done.Task;
        await before;
        try
        {
            return await call(grain);
        }
        finally
        {
            LastUsed = silo.Clock.GetUtcNow();
            done.SetResult();
        }
    }
}

/// <summary>Orleans as far as prefix grains see it: a directory of activations, and placement beside the block or the writer.</summary>
internal sealed class ModelGrains(World world)
{
    public static readonly TimeSpan WriteLimit = TimeSpan.FromSeconds(30);

    private static readonly IOptions<PrefixGrainOptions> Options =
        Microsoft.Extensions.Options.Options.Create(
        new PrefixGrainOptions { WriteLimit = WriteLimit, StorageTimeout = Timeout.InfiniteTimeSpan });

    /// <summary>Storage that keeps nothing: descriptors are not part of the simulation.</summary>
    public static PrefixDescriptorStore Descriptors { get; } =
        new(new NoStorage(), Options, new PrefixDescriptorCounters(), NullLogger<PrefixDescriptorStore>.Instance);

    private readonly Activation?[] _directory = new Activation?[TestBlocks.Count];

    public IEnumerable<Activation> Activations => _directory.OfType<Activation>();

    /// <summary>Activations that the directory has forgotten and that live on until they were idle for long.</summary>
    public List<Activation> Forgotten { get; } = [];

    public async Task<T> Call<T>(string text, int block, ModelSilo from, Func<Activation, ValueTask<T>> call)
    {
        var target = _directory[block]?.Silo ?? Place(block, from);
        return await world.Network.Ask(text, block, from.Node, target.Node, () => Arrive(target), repeatable: false);

        Task<T> Arrive(ModelSilo at)
        {
            var activation = _directory[block] ??= new Activation(at, block, NewGrain(at, block));
            if (activation.Silo == at)
                return activation.Run(_ => call(activation));
            return world.Network.Ask(
                "forwarded " + text, block, at.Node, activation.Silo.Node, () => Arrive(activation.Silo), repeatable: false);
        }
    }

    public void LostTouch(BlockKey key)
    {
        if (_directory[TestBlocks.NumberOf(key)] is { } activation)
            activation.LostTouch = true;
    }

    /// <summary>An activation that was idle for long goes.</summary>
    public void Deactivate(Activation activation)
    {
        _ = activation.Grain.OnDeactivateAsync(new DeactivationReason(DeactivationReasonCode.ActivationIdle, ""), default);
        if (!Forgotten.Remove(activation))
            _directory[activation.Block] = null;
    }

    /// <summary>The directory forgets an activation that lives on, as it may when silos come and go.</summary>
    public void Forget(Activation activation)
    {
        Forgotten.Add(activation);
        _directory[activation.Block] = null;
    }

    public void Crash(ModelSilo silo)
    {
        Forgotten.RemoveAll(activation => activation.Silo == silo);
        foreach (var activation in Activations.Where(activation => activation.Silo == silo).ToArray())
            _directory[activation.Block] = null;
    }

    // As PrefixPlacementDirector decides.
    private ModelSilo Place(int block, ModelSilo from)
    {
        var holder = from.Cluster.HolderOf(TestBlocks.Keys[block]) ?? from.Cluster.RoomierSilo();
        return holder is null ? from : world.Find(holder);
    }

    private static PrefixGrain NewGrain(ModelSilo silo, int block)
    {
        var grain = new PrefixGrain(
            silo.Store, silo.Cluster, silo, NoAddresses.Instance, Options, silo.Clock, Descriptors, new ActivePrefixes(),
            new DamageCheck(silo.Store, NullLogger<DamageCheck>.Instance));
        ContextOf(grain) = new GrainIdentity(GrainId.Create("prefix", TestBlocks.GrainKeys[block]));
        _ = grain.OnActivateAsync(default);
        return grain;
    }

    [UnsafeAccessor(UnsafeAccessorKind.Field, Name = "<GrainContext>k__BackingField")]
    private static extern ref IGrainContext ContextOf(Grain grain);

    private sealed class NoAddresses : IDataPlaneAddresses
    {
        public static readonly NoAddresses Instance = new();

        public string[] Endpoints => [];
    }

    private sealed class NoStorage : IGrainStorage
    {
        public Task ReadStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState) => Task.CompletedTask;

        public Task WriteStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState) => Task.CompletedTask;

        public Task ClearStateAsync<T>(string stateName, GrainId grainId, IGrainState<T> grainState) => Task.CompletedTask;
    }
}
