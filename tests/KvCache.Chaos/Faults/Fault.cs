using KvCache.Chaos.Worlds;

namespace KvCache.Chaos.Faults;

/// <summary>Something that goes wrong for a while: what Jepsen calls a nemesis. One object a round.</summary>
internal abstract class Fault
{
    /// <summary>Time in which those who call a silo that was killed notice it.</summary>
    protected static readonly TimeSpan AfterKill = TimeSpan.FromSeconds(2);

    /// <summary><c>KvCache:Cluster:SilenceLimit</c> and a second: so long calls may fail when a silo says nothing any more.</summary>
    protected static readonly TimeSpan AfterSilence = TimeSpan.FromSeconds(3.5);

    /// <summary>For faults during which nobody can promise anything.</summary>
    protected static readonly TimeSpan Always = TimeSpan.FromHours(1);

    /// <summary>Name on the command line and in the table.</summary>
    public abstract string Name { get; }

    /// <summary>What is done, in a sentence for the help.</summary>
    public abstract string Description { get; }

    /// <summary>How long after its beginning calls may fail.</summary>
    public virtual TimeSpan FailuresUntil => TimeSpan.Zero;

    /// <summary>How long silos serve although they do not hear all others.</summary>
    public virtual TimeSpan StaleUntil => TimeSpan.Zero;

    /// <summary>How soon the silos have to be whole again when it has ended.</summary>
    public virtual TimeSpan RecoveryLimit => TimeSpan.FromSeconds(10);

    /// <summary>Who may log an error in a silo, as its category: one that was cut off, or declared dead, says so.</summary>
    public virtual IReadOnlyList<string> Errors => [];

    /// <summary>The categories that say that a silo was declared dead.</summary>
    protected static IReadOnlyList<string> DeclaredDead { get; } =
        ["Orleans.Runtime.MembershipService.MembershipTableManager", "KvCache.Silo.Hosting.FencedSilo"];

    /// <summary>Whether it needs a Redis with a replica, watched by sentinels.</summary>
    public virtual bool NeedsSentinels => false;

    /// <summary>What is worth telling of this round.</summary>
    public string Note { get; protected set; } = "";

    /// <summary>Why it cannot be done here, in a sentence; null where it can.</summary>
    public virtual string? WhyNot(World world) => null;

    /// <summary>How long it lasts.</summary>
    public virtual TimeSpan Hold(Random dice) => TimeSpan.FromSeconds(2 + dice.Next(5));

    /// <summary>Begins it.</summary>
    public abstract Task InjectAsync(World world, Random dice);

    /// <summary>Ends it.</summary>
    public virtual Task CureAsync(World world) => Task.CompletedTask;
}
