using KvCache.Benchmarks.Workloads;

namespace KvCache.Benchmarks;

/// <summary>Traffic as a trace, for machines that have none: made up, and the same for the same seed.</summary>
public static class Workload
{
    /// <summary>All kinds at once.</summary>
    public const string Mixed = "mixed";

    private static readonly IReadOnlyList<Traffic> Kinds = new TrafficKinds(0).All;

    /// <summary>What there is: single kinds, and all of them together.</summary>
    public static IReadOnlyList<string> Names { get; } = [.. Kinds.Select(kind => kind.Name), Mixed];

    /// <summary>Lines for a help.</summary>
    internal static string Help { get; } =
        string.Join(" ", Kinds.Select(kind => $"{kind.Name}: {kind.Description}")) + $" {Mixed}: all of them.";

    /// <summary>Makes a trace.</summary>
    /// <param name="name">One of <see cref="Names"/>.</param>
    /// <param name="requests">How long it is.</param>
    /// <param name="seed">Another one gives another trace of the same kind.</param>
    /// <exception cref="ArgumentException">There is no such workload.</exception>
    public static IReadOnlyList<TraceRequest> Make(string name, int requests, int seed)
    {
        var kinds = new TrafficKinds(seed);
        Traffic[] wanted = [.. kinds.All.Where(kind => name == Mixed || name == kind.Name)];
        if (wanted.Length == 0)
            throw new ArgumentException($"There is no workload '{name}'; one of {string.Join(", ", Names)} was expected.", nameof(name));
        var trace = new List<TraceRequest>(requests);
        var due = new PriorityQueue<Asking, double>();
        foreach (var kind in wanted)
            due.Enqueue(new Doorman(kind, kinds.Chance, due).Open, kinds.Chance.Exponential(kind.Arrivals));
        while (trace.Count < requests)
        {
            due.TryDequeue(out var asking, out var now);
            var (request, again) = asking!(now);
            trace.Add(request);
            if (again is { } later)
                due.Enqueue(asking, later);
        }

        return trace;
    }

    /// <summary>Lets somebody new in, whose first request is at once, and the next one later.</summary>
    private sealed class Doorman(Traffic kind, Chance chance, PriorityQueue<Asking, double> due)
    {
        public (TraceRequest Request, double? Again) Open(double now)
        {
            var asking = kind.Come();
            var (request, again) = asking(now);
            if (again is { } later)
                due.Enqueue(asking, later);
            return (request, now + chance.Exponential(kind.Arrivals));
        }
    }
}
