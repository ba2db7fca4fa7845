using KvCache.Client;
using KvCache.Testing;
using KvCache.UnitTests.Support;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace KvCache.UnitTests;

/// <summary>Null where none is expected is told by the name of the parameter, in every public call.</summary>
public sealed class NullArgumentTests : IDisposable
{
    private readonly LocalKvCache _local = new(ByteSize.MiB(1));

    public void Dispose() => _local.Dispose();

    [Theory]
    [InlineData(typeof(IKvCache))]
    [InlineData(typeof(LocalKvCache))]
    public async Task Null_is_told_everywhere(Type one)
    {
        using var client = new KvCacheClient(new KvCacheClientOptions { Endpoints = { "unix:/nowhere/data.sock" } });
        using var tiered = new TieredKvCache(new LocalKvCache(ByteSize.MiB(1)), new LocalKvCache(ByteSize.MiB(1)));
        using var buffer = new ScatterBuffer(Names.Namespace.Layout, 1);
        object[] samples =
        [
            _local, client, tiered, buffer, new ServiceCollection(), new ConfigurationBuilder().Build(),
            new ServiceCollection().AddHealthChecks(), (Action<KvCacheClientOptions>)(_ => { }), new PrefixMatcher(), new GramMatcher(),
        ];
        Assert.Empty(await NullArguments.FindAsync(one.Assembly, samples));
    }
}
