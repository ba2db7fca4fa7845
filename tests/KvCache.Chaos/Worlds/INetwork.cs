using System.Diagnostics;
using System.Net;

namespace KvCache.Chaos.Worlds;

/// <summary>Who stands at an end of a link: silos are 0, 1, 2, …</summary>
internal static class Node
{
    /// <summary>The (first) Redis.</summary>
    public const int Redis = 100;

    /// <summary>A second Redis.</summary>
    public const int Replica = 101;

    /// <summary>The clients, which live in the harness.</summary>
    public const int Clients = 200;
}

/// <summary>Where silos and Redis live, and the links between them.</summary>
internal interface INetwork : IAsyncDisposable
{
    /// <summary>What it is, in a sentence for the report.</summary>
    string Description { get; }

    /// <summary>The address of a node.</summary>
    IPAddress AddressOf(int node);

    /// <summary>Ports of a silo or a Redis, which it keeps when it comes back.</summary>
    int PortOf(int node, int which);

    /// <summary>The address of a silo's data plane for everybody else.</summary>
    IPEndPoint DataPlaneOf(int silo);

    /// <summary>The command that runs a program at a node.</summary>
    ProcessStartInfo At(int node, ProcessStartInfo command);

    /// <summary>Whether a link can be cut here.</summary>
    bool CanCut(int one, int other);

    /// <summary>Nothing passes between two nodes any more, and nobody is told.</summary>
    Task CutAsync(int one, int other);

    /// <summary>The data plane of a silo moves so many bytes a second at most.</summary>
    Task SlowAsync(int silo, int bytesPerSecond);

    /// <summary>Breaks the connections of a silo's data plane that are open now.</summary>
    Task ResetAsync(int silo);

    /// <summary>All links are whole and fast again.</summary>
    Task HealAsync();
}
