using KvCache.Eviction;
using KvCache.UnitTests.Eviction;
using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class EvictionPolicyTests
{
    public static TheoryData<string> Policies => [.. EvictionPolicies.Names];

    [Theory]
    [MemberData(nameof(Policies))]
    public void Victims_are_leaves_that_nobody_holds_and_what_stays_can_be_reached(string name)
    {
        const int capacity = 40;
        var store = new PolicyStore(EvictionPolicies.Create(name, capacity), capacity);
        var random = new Random(3);
        var held = new Queue<string>();
        for (var step = 0; step < 4000; step++)
        {
            // The store checks every victim, and what is resident after every request.
            store.Serve(RandomChain(random), now: step * 700L, (AnswerEnd)random.Next(4), random.Next(3));
            if (random.Next(4) == 0 && store.Resident.Count > 0)
            {
                var path = store.Resident.ElementAt(random.Next(store.Resident.Count));
                store.Hold(path);
                held.Enqueue(path);
            }

            if (held.Count > 5)
                store.Release(held.Dequeue());
            var free = store.Resident.FirstOrDefault(path => !held.Any(other => other.StartsWith(path, StringComparison.Ordinal)));
            if (random.Next(10) == 0 && free is not null)
                store.Delete(free, step * 700L);
            if (random.Next(5) == 0 && store.Resident.LastOrDefault() is { } told)
                store.Tell(told, AnswerEnd.ToolCall);
        }

        Assert.NotEmpty(store.Victims);
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void The_same_requests_have_the_same_victims(string name)
    {
        List<string> Run()
        {
            var store = new PolicyStore(EvictionPolicies.Create(name, 30), 30);
            var random = new Random(5);
            for (var step = 0; step < 1500; step++)
                store.Serve(RandomChain(random), step * 1000L);
            return store.Victims;
        }

        Assert.Equal(Run(), Run());
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void A_chain_that_does_not_fit_keeps_its_head(string name)
    {
        var store = new PolicyStore(EvictionPolicies.Create(name, 10), 10);
        store.Serve("xyz", 0);
        store.Serve("abcdefghijklmnop", 1000);
        var others = store.Resident.Count(path => path[0] == 'x');
        Assert.Equal(10, store.Serve("abcdefghijklmnop", 2000) + others);
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void Nothing_goes_while_all_is_held(string name)
    {
        var store = new PolicyStore(EvictionPolicies.Create(name, 4), 4);
        store.Serve("ab", 0);
        store.Serve("cd", 1000);
        store.Hold("ab");
        store.Hold("cd");
        store.Serve("ef", 2000);
        Assert.Empty(store.Victims);
        store.Release("cd");
        store.Serve("ef", 3000);
        Assert.DoesNotContain(store.Victims, victim => victim[0] == 'a');
    }

    [Fact]
    public void Tail_first_lru_evicts_as_a_list_does_that_is_written_down_naively()
    {
        const int capacity = 25;
        var store = new PolicyStore(new LruPolicy(capacity), capacity);
        var expected = new List<string>(); // newest first
        var victims = new List<string>();
        var random = new Random(11);
        for (var step = 0; step < 3000; step++)
        {
            var chain = RandomChain(random);
            store.Serve(chain, step);
            for (var length = chain.Length; length > 0; length--)
            {
                expected.Remove(chain[..length]);
                expected.Insert(0, chain[..length]);
            }

            victims.AddRange(Enumerable.Reverse(expected[Math.Min(capacity, expected.Count)..]));
            expected.RemoveRange(Math.Min(capacity, expected.Count), Math.Max(0, expected.Count - capacity));
            Assert.Equal(expected.Order(), store.Resident.Order());
        }

        Assert.Equal(victims, store.Victims);
    }

    [Theory]
    [MemberData(nameof(Policies))]
    public void A_touch_an_insert_and_a_victim_allocate_nothing(string name)
    {
        const int capacity = 256, width = 8;
        var policy = EvictionPolicies.Create(name, capacity);
        // Chains of 8 blocks, each of which is served twice.
        var chains = new ulong[97][];
        for (var chain = 0; chain < chains.Length; chain++)
            chains[chain] = [.. Enumerable.Range(0, width).Select(i => PolicyStore.Fingerprint($"{chain}/{i}"))];
        long request = 0;
        var step = 0;

        Assert.Equal(0, Allocations.Of(() =>
        {
            for (var end = step + 300; step < end; step++)
                ServeTwice(policy, chains[step % chains.Length], capacity, ref request, step * 500L);
        }));
    }

    private static readonly int[] Chain = new int[8];

    private static void ServeTwice(IEvictionPolicy policy, ulong[] fingerprints, int capacity, ref long request, long now)
    {
        var use = new ChainUse { Request = ++request, Now = now, Tokens = 4096, TokensPerBlock = 512 };
        policy.Look(fingerprints, 0, -1, ref use);
        var count = 0;
        for (; count < fingerprints.Length; count++)
        {
            var block = new ArrivingBlock(fingerprints[count], count == 0 ? -1 : Chain[count - 1], Partial: false);
            var slot = (int)((request / 2 * 8) + count);
            if (slot >= capacity)
            {
                if (policy.ChooseVictim(block, use, out var victim) != VictimChoice.Found)
                    break;
                policy.Remove(victim.Slot, evicted: true, now);
                slot = victim.Slot;
            }

            policy.Insert(slot, block, use);
            policy.Hold(slot);
            if (count > 0)
                policy.Release(Chain[count - 1]);
            Chain[count] = slot;
        }

        for (var i = count; i < fingerprints.Length; i++)
            policy.Pass(new ArrivingBlock(fingerprints[i], -1, Partial: false), use);
        use = use with { Request = ++request, Now = now + 200 };
        policy.Look(fingerprints, count, count == 0 ? -1 : Chain[count - 1], ref use);
        for (var i = 0; i < count; i++)
            policy.Touch(Chain[i], use);
        if (count > 0)
            policy.Release(Chain[count - 1]);
    }

    internal static string RandomChain(Random random) =>
        string.Create(random.Next(1, 9), random, (letters, source) =>
        {
            foreach (ref var letter in letters)
                letter = (char)('a' + source.Next(3));
        });
}
