using KvCache.SimulationTests.Engine;
using KvCache.SimulationTests.Model;
using Orleans.Runtime;

namespace KvCache.SimulationTests.Worlds;

/// <summary>
/// One schedule: a few silos, a Redis and their clients, of which a seeded choice picks one step after another. After every step the
/// rules are checked.
/// </summary>
internal sealed partial class World : IDisposable
{
    private const int MaxSilos = 3;
    private const int MaxSilosEver = 6;

    private static readonly TimeSpan LongestSchedule = TimeSpan.FromMinutes(7); // well below the life of a tombstone

    private readonly ulong _seed;
    private readonly int _arenaBlocks;
    private readonly bool _skewed;
    private readonly Rules _rules;
    private readonly List<ModelSilo> _silos = [];
    private readonly List<(ModelSilo Silo, ModelSilo Other)> _notices = [];
    private readonly HashSet<int> _storeNumbers = [];
    private Dice _dice;

    public World(ulong seed, Mutation mutation, Trace trace)
    {
        _seed = seed;
        _dice = new Dice(Dice.Mix(seed, -1));
        Trace = trace;
        Mutation = mutation;
        _rules = new Rules(this);
        Redis = new ModelRedis(new SkewedClock(Time, _dice.Chance(50) ? TimeSpan.Zero : Skew()));
        Network = new Network(IsAlive, trace);
        Grains = new ModelGrains(this);
        _arenaBlocks = 3 + _dice.Next(4);
        _skewed = _dice.Chance(60);
        for (var silos = _dice.Chance(20) ? 2 : MaxSilos; silos > 0; silos--)
            Join();
        NoticeAll();
        while (_dice.Chance(98) && GoOn())
        {
            // Most schedules begin with silos that have heard of each other.
        }
    }

    public VirtualTime Time { get; } = new();

    public Network Network { get; }

    public ModelRedis Redis { get; }

    public ModelGrains Grains { get; }

    public History History { get; } = new();

    public Trace Trace { get; }

    public Mutation Mutation { get; }

    /// <summary>Steps that have begun.</summary>
    public int Step { get; private set; }

    public IEnumerable<ModelSilo> Alive => _silos.Where(silo => silo.IsAlive);

    public ModelSilo Find(SiloAddress address) => _silos[address.Endpoint.Port - 1000];

    public bool IsAlive(int node) => node == ModelRedis.Node || _silos[node].IsAlive;

    /// <summary>Runs one step and checks the rules.</summary>
    /// <exception cref="BrokenRuleException">A rule is broken.</exception>
    public void Run(int step)
    {
        Step++;
        _dice = new Dice(Dice.Mix(_seed, step));
        Act();
        Settle();
        _rules.Check();
    }

    /// <summary>Lets everything come to rest, and checks what must be true then.</summary>
    /// <exception cref="BrokenRuleException">A rule is broken.</exception>
    public void End()
    {
        _dice = new Dice(Dice.Mix(_seed, int.MaxValue - 1));
        Trace.Add($"== rest");
        Rest();

        // Writers whose clients have left are over their limit, and activations are idle.
        Time.Advance(2 * ModelGrains.WriteLimit + TimeSpan.FromSeconds(40));
        foreach (var activation in Grains.Activations.Concat(Grains.Forgotten).ToArray())
        {
            Rules.IsTrue(activation.IsIdle, $"the grain of K{activation.Block} has never answered");
            Grains.Deactivate(activation);
        }

        foreach (var silo in Alive)
            silo.Store.Sweep();
        Rest();
        _rules.CheckRest();
        TryEveryBlock();
        _rules.CheckRest();
    }

    public void Dispose() => _silos.ForEach(silo => silo.Dispose());

    private ModelSilo AnySilo()
    {
        var skip = _dice.Next(Alive.Count());
        return Alive.ElementAt(skip);
    }

    // Most clocks are set a little wrong, some by hours.
    private TimeSpan Skew() =>
        _dice.Chance(20) ? TimeSpan.FromMinutes(_dice.Next(361) - 180) : TimeSpan.FromMilliseconds(_dice.Next(6001) - 3000);

    private void Join()
    {
        var silo = new ModelSilo(this, _silos.Count, _skewed ? Skew() : TimeSpan.Zero, _arenaBlocks, NewStoreSeed());
        Trace.Add($"S{silo.Node} starts, its clock {silo.Clock.Skew.TotalMilliseconds} ms ahead, room for {_arenaBlocks} blocks");
        foreach (var other in Alive)
        {
            _notices.Add((silo, other));
            _notices.Add((other, silo));
        }

        _silos.Add(silo);
        _joined++;
    }

    // Stores tell their generations apart by a random number, which is the first that they draw. That two draw the same one is left out.
    private int NewStoreSeed()
    {
        while (true)
        {
            var seed = _dice.Next(int.MaxValue);
            if (_storeNumbers.Add(new Random(seed).Next(4096)))
                return seed;
        }
    }

    private void Crash(ModelSilo silo)
    {
        Trace.Add($"S{silo.Node} crashes");
        silo.Crash();

        // What it has sent to Redis is executed now or never; what it has sent to silos may still arrive.
        while (Network.Find(message => message.From == silo.Node && message.To == ModelRedis.Node) is var sent and >= 0)
        {
            if (_dice.Chance(50))
                Network.Deliver(sent);
            else
                Network.Drop(sent);
        }

        Grains.Crash(silo);
        Forget(silo);
        Network.Crash(silo.Node, _ => _dice.Chance(50));
        _notices.RemoveAll(notice => notice.Silo == silo);
        foreach (var other in Alive)
            _notices.Add((other, silo));
    }

    private void NoticeAll()
    {
        while (_notices.Count > 0)
            Notice(0);
    }

    // As ClusterWatch does.
    private void Notice(int index)
    {
        var (silo, other) = _notices[index];
        _notices.RemoveAt(index);
        var peer = silo.Members.Find(other.SiloAddress);
        if (other.IsAlive && peer is null)
        {
            silo.Members.Add(other.SiloAddress);
        }
        else if (!other.IsAlive && peer is not null && Mutation != Mutation.RemembersTheDead)
        {
            Trace.Add($"  S{silo.Node} learns that S{other.Node} is dead");
            silo.Members.Remove(peer);
        }

        silo.Replicator.Repair();
    }
}
