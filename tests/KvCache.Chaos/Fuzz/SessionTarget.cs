using System.Diagnostics;
using KvCache.Silo.Connections;

namespace KvCache.Chaos.Fuzz;

/// <summary>Sessions of a front end of a silo in this process: each is fed some mutated requests, and may refuse them in its own words, or
/// end.</summary>
internal abstract class SessionTarget(string name, InnerSilo silo) : FuzzTarget(name)
{
    // Longer than any wait that a request may ask for.
    private static readonly TimeSpan Longest = TimeSpan.FromSeconds(10);

    protected InnerSilo Silo => silo;

    /// <summary>Inputs of one session.</summary>
    protected abstract int Requests { get; }

    public override int Feed(Mutator mutator)
    {
        var channel = new MemoryChannel();
        var preamble = Greet(channel, mutator);
        var inputs = new byte[Requests][];
        for (var i = 0; i < inputs.Length; i++)
            channel.Add(inputs[i] = Next(mutator));
        var began = Stopwatch.GetTimestamp();
        using (var session = Open(channel))
        {
            session.Admission = (_, _) => true;
            session.Run();
        }

        if (Silo.Failures.Take() is { } failure)
            throw new FuzzFailure($"A session of {Name} failed", channel.Current, failure);
        if (Stopwatch.GetElapsedTime(began) is var took && took > Longest)
            throw new FuzzFailure($"A session of {Name} took {took.TotalSeconds:0.0} s", channel.Current);
        return Math.Max(0, channel.Begun - preamble);
    }

    /// <summary>Opens a session.</summary>
    protected abstract Connection Open(MemoryChannel channel);

    /// <summary>The next input.</summary>
    protected abstract byte[] Next(Mutator mutator);

    /// <summary>Puts what comes before the inputs into the channel.</summary>
    /// <returns>How many messages that were.</returns>
    protected virtual int Greet(MemoryChannel channel, Mutator mutator) => 0;
}
