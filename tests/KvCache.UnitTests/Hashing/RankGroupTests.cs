using KvCache.UnitTests.Support;
using Xunit;

namespace KvCache.UnitTests;

public sealed class RankGroupTests
{
    [Fact]
    public void A_group_has_every_rank_of_its_namespace_once()
    {
        var third = Names.Namespace with { TensorParallelSize = 4, TensorParallelRank = 2 };
        var group = RankGroup.AllOf(third);
        Assert.Equal(4, group.Count);
        Assert.Equal([0, 1, 2, 3], group.Namespaces.ToArray().Select(ns => ns.TensorParallelRank));
        Assert.Same(third, group.Namespaces[2]);
        var prefix = Names.Prefix(3, ns: third);
        Assert.Equal(prefix.OnRank(1).Namespace.Id, group.PrefixOf(1, prefix.Chain).Namespace.Id);
    }

    [Fact]
    public void Groups_that_make_no_sense_are_errors()
    {
        Assert.Throws<ArgumentException>(() => new RankGroup());
        Assert.Throws<ArgumentException>(() => new RankGroup(Names.Namespace, Names.Namespace with { }));
        Assert.Throws<ArgumentException>(() => new RankGroup(Names.Namespace, Names.Namespace with { Layout = KvLayout.Opaque(16, 16) }));
        Assert.Throws<ArgumentException>(
            () => new RankGroup(
            Enumerable.Range(0, 1025).Select(rank => Names.Namespace with { TensorParallelSize = 2000, TensorParallelRank = rank })));
    }
}
