using KvCache.Bench.Memory;
using KvCache.Bench.Silos;
using KvCache.Bench.Transfer;
using KvCache.Silo.Connections;

namespace KvCache.Bench.Mixed;

/// <summary>Asks how much of a stored prompt is there.</summary>
internal sealed class MatchLane : SiloLane
{
    public MatchLane(BenchSilo silo, string transport, TransferCase prompt, LaneBuffers lane)
        : base(silo, transport, prompt)
    {
        NewHashes();
        Put([.. Enumerable.Range(0, prompt.Batch).Select(i => (ReadOnlyMemory<byte>)WarmMemory.Block(lane.Source, i, prompt.BlockLength))]);
        if (Connection.Pin(Namespace, Hashes, TimeSpan.FromHours(1)) != Hashes.Length)
            throw new IOException("The prompt could not be pinned: the arena of the benchmark is too small.");
    }

    public override void Run(int requests)
    {
        for (var i = 0; i < requests; i++)
        {
            var found = Connection.Match([Namespace], Hashes, TimeSpan.Zero).Found;
            if (found != Hashes.Length)
                throw new IOException($"The silo found {found} of {Hashes.Length} blocks of a pinned prompt.");
        }
    }
}
