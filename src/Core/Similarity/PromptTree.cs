namespace KvCache.Similarity;

/// <summary>
/// A radix tree (Morrison, 1968, "PATRICIA") over sequences, whose nodes know the shortest sequence below them.
/// </summary>
internal sealed class PromptTree
{
    private readonly Dictionary<int, int[]> _prompts = [];
    private readonly Node _root = new([], 0, 0);
    private int _next;

    public int Count => _prompts.Count;

    /// <summary>Adds a sequence, which belongs to the tree from now on.</summary>
    /// <param name="tokens">The sequence.</param>
    /// <param name="length">Its length as it is told: of those that share as much, the shortest one is found.</param>
    public int Add(int[] tokens, int length)
    {
        var prompt = new Prompt(_next++, length);
        _prompts.Add(prompt.Index, tokens);
        var node = _root;
        node.Took(prompt);
        for (var depth = 0; depth < tokens.Length;)
        {
            if (!node.Children.TryGetValue(tokens[depth], out var child))
            {
                child = new Node(tokens, depth, tokens.Length);
                node.Children.Add(tokens[depth], child);
            }

            var common = child.Label.CommonPrefixLength(tokens.AsSpan(depth));
            if (common < child.Label.Length)
                child = node.Children[tokens[depth]] = child.Split(common);
            depth += common;
            node = child;
            node.Took(prompt);
        }

        node.Ends.Add(prompt);
        return prompt.Index;
    }

    public bool Remove(int index)
    {
        if (!_prompts.Remove(index, out var tokens))
            return false;
        var path = new List<Node> { _root };
        for (var depth = 0; depth < tokens.Length; depth += path[^1].Label.Length)
            path.Add(path[^1].Children[tokens[depth]]);
        path[^1].Ends.RemoveAll(prompt => prompt.Index == index);
        for (var i = path.Count - 1; i >= 0; i--)
        {
            if (i > 0 && path[i] is { Ends.Count: 0, Children.Count: 0 } empty)
                path[i - 1].Children.Remove(empty.Label[0]);
            else if (i > 0 && path[i] is { Ends.Count: 0, Children.Count: 1 })
                path[i - 1].Children[path[i].Label[0]] = path[i].Join();
            else
                path[i].FindBest();
        }

        return true;
    }

    /// <summary>Finds the sequence that shares the most with a query, and of those the shortest, then the first.</summary>
    public Prompt? Find(ReadOnlySpan<int> query, out int common)
    {
        var node = _root;
        common = 0;
        while (common < query.Length && node.Children.TryGetValue(query[common], out var child))
        {
            var shared = child.Label.CommonPrefixLength(query[common..]);
            common += shared;
            node = child;
            if (shared < child.Label.Length)
                break;
        }

        return common > 0 ? node.Best : null;
    }

    /// <summary>A sequence of the tree.</summary>
    public readonly record struct Prompt(int Index, int Length)
    {
        public bool IsBetterThan(Prompt other) => (Length, Index).CompareTo((other.Length, other.Index)) < 0;
    }

    // A run of tokens, which is a part of some sequence that has or had it.
    private sealed class Node(int[] source, int start, int end)
    {
        private Prompt? _best;

        public Dictionary<int, Node> Children { get; private init; } = [];

        public List<Prompt> Ends { get; private init; } = [];

        public Prompt? Best => _best;

        public ReadOnlySpan<int> Label => source.AsSpan(start, end - start);

        public void Took(Prompt prompt)
        {
            if (_best is not { } best || prompt.IsBetterThan(best))
                _best = prompt;
        }

        /// <summary>A node for the first tokens of the run, with one for the rest below it.</summary>
        public Node Split(int length)
        {
            var upper = new Node(source, start, start + length) { _best = _best };
            var lower = new Node(source, start + length, end) { _best = _best, Children = Children, Ends = Ends };
            upper.Children.Add(lower.Label[0], lower);
            return upper;
        }

        /// <summary>One node for this run and the only one below it.</summary>
        public Node Join()
        {
            var (_, lower) = Children.Single();
            return new Node(lower.Source, lower.Start - (end - start), lower.End)
            {
                _best = lower._best,
                Children = lower.Children,
                Ends = lower.Ends,
            };
        }

        public void FindBest()
        {
            _best = null;
            foreach (var prompt in Ends)
                Took(prompt);
            foreach (var child in Children.Values)
                Took(child._best!.Value);
        }

        private int[] Source => source;

        private int Start => start;

        private int End => end;
    }
}
