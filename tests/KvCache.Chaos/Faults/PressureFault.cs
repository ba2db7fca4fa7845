using KvCache.Chaos.Load;
using KvCache.Chaos.Worlds;

namespace KvCache.Chaos.Faults;

/// <summary>Somebody stores more than the arenas hold: everything is evicted all the time.</summary>
internal sealed class PressureFault : Fault
{
    private const int FirstNumber = 10_000_000;
    private volatile bool _isOver;
    private Task _flood = Task.CompletedTask;
    private long _stored;

    public override string Name => "pressure";

    public override string Description => "chains are stored as fast as it goes, several arenas full of them";

    public override Task InjectAsync(World world, Random dice)
    {
        var clients = world.Silos.Select(silo => world.Connect(silo.Number)).ToArray();
        var shapes = new Shapes(dice.Next());
        var bytes = new byte[64 << 10];
        dice.NextBytes(bytes);
        _flood = Task.WhenAll(clients.Select((client, i) => Task.Run(async () =>
        {
            for (var number = FirstNumber + i; !_isOver; number += clients.Length)
            {
                var chain = shapes.LargeChainOf(number);
                var blocks = Enumerable.Repeat((ReadOnlyMemory<byte>)bytes.AsMemory(0, chain.BlockBytes), chain.Blocks).ToArray();
                var result = await client.StoreAsync(chain.Prefix, 0, blocks).ConfigureAwait(false);
                Interlocked.Add(ref _stored, result.Stored * (long)chain.BlockBytes);
            }

            await client.DisposeAsync().ConfigureAwait(false);
        })));
        return Task.CompletedTask;
    }

    public override async Task CureAsync(World world)
    {
        _isOver = true;
        await _flood.ConfigureAwait(false);
        Note = $"{_stored >> 20} MiB stored";
    }
}
