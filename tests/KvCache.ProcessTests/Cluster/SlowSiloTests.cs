using KvCache.ProcessTests.Infrastructure;
using KvCache.Testing;

namespace KvCache.ProcessTests;

/// <summary>A client of a silo that is slow and one that is away.</summary>
public sealed class SlowSiloTests
{
    private static readonly CacheNamespace Ns = Prefixes.Namespace("slow", KvLayout.Opaque([0, 4096], 16));

    [Theory]
    [InlineData("match")]
    [InlineData("store")]
    [InlineData("load")]
    public async Task A_silo_that_was_given_up_is_asked_again_when_all_others_are_away(string what)
    {
        await using var silo = await SiloProcess.StartAsync();
        using var relay = new Relay(silo.Tcp);
        await using var client = silo.Connect(relay.Endpoint, options =>
        {
            options.Endpoints.Add("tcp:127.0.0.1:1"); // nobody is there
            options.SiloPatience = TimeSpan.FromSeconds(1);
        });
        await using var direct = silo.Connect();
        KvPrefix stored = Prefixes.New(Ns, 2), other = Prefixes.New(Ns, 2);
        await direct.MustStoreAsync(stored);
        await client.MustLoadAsync(stored);

        relay.Limit(fromSilo: 0);
        var connections = relay.Accepted;
        var call = what switch { "match" => MatchAsync(), "store" => StoreAsync(), _ => client.MustLoadAsync(stored) };
        await Eventually.TrueAsync("it is asked again, over another connection", () => relay.Accepted > connections);
        relay.Open();

        await call;

        async Task MatchAsync()
        {
            var match = await client.MatchAsync(stored);
            Assert.Equal((2, MissReason.None), (match.Blocks, match.Reason));
        }

        // The first attempt may have stored what its answer did not say.
        async Task StoreAsync()
        {
            var result = await client.StoreAsync(other, 0, other.Blocks());
            Assert.Equal((2, 0, MissReason.None), (result.Stored + result.AlreadyStored, result.Refused, result.Reason));
        }
    }
}
