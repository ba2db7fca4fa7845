using CsCheck;
using KvCache.Eviction;
using KvCache.Testing;
using KvCache.UnitTests.Storage;
using Xunit;

namespace KvCache.UnitTests;

public sealed class BlockStoreModelTests
{
    private enum Kind
    {
        Reserve,
        Publish,
        Revoke,
        Abandon,
        Lease,
        LeaseChain,
        Release,
        Remove,
        Pin,
        SetTimeToLive,
        Match,
        Look,
        Advance,
        Sweep,
        Clear,
    }

    private static readonly Gen<Kind> Kinds = Gen.Frequency(
        (30, Gen.Const(Kind.Reserve)),
        (30, Gen.Const(Kind.Publish)),
        (2, Gen.Const(Kind.Revoke)),
        (2, Gen.Const(Kind.Abandon)),
        (12, Gen.Const(Kind.Lease)),
        (4, Gen.Const(Kind.LeaseChain)),
        (14, Gen.Const(Kind.Release)),
        (4, Gen.Const(Kind.Remove)),
        (6, Gen.Const(Kind.Pin)),
        (3, Gen.Const(Kind.SetTimeToLive)),
        (2, Gen.Const(Kind.Match)),
        (4, Gen.Const(Kind.Look)),
        (6, Gen.Const(Kind.Advance)),
        (2, Gen.Const(Kind.Sweep)),
        (1, Gen.Const(Kind.Clear)));

    private static readonly Gen<(Kind Kind, int Which, int Amount)[]> Operations =
        Gen.Select(Kinds, Gen.Int[0, 999], Gen.Int[0, 100]).Array[0, 250];

    public static TheoryData<string> Policies => [.. EvictionPolicies.Names];

    [Theory]
    [MemberData(nameof(Policies))]
    public void Every_operation_does_what_the_model_does(string policy) =>
        Operations.Sample(operations => Run(policy, operations), iter: Depth.Of(policy == EvictionPolicies.Default ? 800 : 250));

    [Fact]
    public void Equal_blocks_are_evicted_as_the_model_says() =>
        Operations.Sample(
            operations =>
                Run(EvictionPolicies.Default,
                [.. operations.Select(operation => operation with { Amount = (operation.Amount / 5 * 5) + 2 })]), iter: Depth.Of(250));

    private static void Run(string policy, (Kind Kind, int Which, int Amount)[] operations)
    {
        using var model = new StoreModel(policy);
        foreach (var (kind, which, amount) in operations)
        {
            switch (kind)
            {
                case Kind.Reserve:
                    model.Reserve(which, amount % StoreModel.Layouts.Length);
                    break;
                case Kind.Publish:
                    model.Publish(which, amount);
                    break;
                case Kind.Revoke:
                    model.Revoke(which);
                    break;
                case Kind.Abandon:
                    model.Abandon(which);
                    break;
                case Kind.Lease:
                    model.Lease(which);
                    break;
                case Kind.LeaseChain:
                    model.LeaseChain(which, amount);
                    break;
                case Kind.Release:
                    model.Release(which);
                    break;
                case Kind.Remove:
                    model.Remove(which, amount);
                    break;
                case Kind.Pin:
                    model.Pin(which, amount);
                    break;
                case Kind.SetTimeToLive:
                    model.SetTimeToLive(which, amount);
                    break;
                case Kind.Match:
                    model.Match(which);
                    break;
                case Kind.Look:
                    model.Look();
                    break;
                case Kind.Advance:
                    model.Advance(amount / 2);
                    break;
                case Kind.Sweep:
                    model.SweepBoth();
                    break;
                case Kind.Clear:
                    model.Clear();
                    break;
            }

            model.Check();
        }

        model.LetGoOfEverything();
    }
}
