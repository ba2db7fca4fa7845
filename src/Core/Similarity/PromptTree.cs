namespace KvCache.Similarity;

/// <summary>
/// A radix tree (Morrison, 1968, "PATRICIA") over sequences, whose nodes know the shortest sequence below them. Adding and removing take
/// time in proportion to the sequence and to the logarithm of the number of sequences.
/// </summary>
internal sealed class PromptTree
{
    private readonly Dictionary<int, (int[] Tokens, int Length)> _prompts = [];
    private readonly Node _root = new([], 0, 0);
    private int _next;

    public int Count => _prompts.Count;

    /// <summary>Adds a sequence, which belongs to the tree from now on.</summary>
    /// <param name="tokens">The sequence.</param>
    /// <param name="length">Its length as it is told: of those that share as much, the shortest one is found.</param>
    public int Add(int[] tokens, int length)
    {
        var prompt = new Prompt(_next++, length);
        _prompts.Add(prompt.Index, (tokens, length));
        var path = new List<Node> { _root };
        for (var depth = 0; depth < tokens.Length; depth += path[^1].Label.Length)
        {
            if (!path[^1].Children.TryGetValue(tokens[depth], out var child))
            {
                child = new Node(tokens, depth, tokens.Length);
                path[^1].Children.Add(tokens[depth], child);
            }

            var common = child.Label.CommonPrefixLength(tokens.AsSpan(depth));
            if (common < child.Label.Length)
                child = path[^1].Children[tokens[depth]] = child.Split(common);
            path.Add(child);
        }

        var before = path[^1].Best;
        path[^1].AddEnd(prompt);
        for (var i = path.Count - 1; i > 0 && before != path[i].Best; i--)
            before = path[i - 1].Replace(before, path[i].Best);
        return prompt.Index;
    }

    public bool Remove(int index)
    {
        if (!_prompts.Remove(index, out var removed))
            return false;
        var (tokens, length) = removed;
        var path = new List<Node> { _root };
        for (var depth = 0; depth < tokens.Length; depth += path[^1].Label.Length)
            path.Add(path[^1].Children[tokens[depth]]);
        var before = path[^1].Best;
        path[^1].RemoveEnd(new Prompt(index, length));
        for (var i = path.Count - 1; i > 0; i--)
        {
            var (node, parent) = (path[i], path[i - 1]);
            if (node.Best is not { } best)
                parent.Children.Remove(node.Label[0]);
            else if (node is { Ends: 0, Children.Count: 1 })
                parent.Children[node.Label[0]] = node.Join();
            else
                node.LetGo(tokens, _prompts[best.Index].Tokens);
            before = parent.Replace(before, node.Best);
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

    /// <summary>A sequence of the tree; less is better.</summary>
    public readonly record struct Prompt(int Index, int Length) : IComparable<Prompt>
    {
        public int CompareTo(Prompt other) => (Length, Index).CompareTo((other.Length, other.Index));
    }

    // A run of tokens, which is a part of some sequence that the tree has.
    private sealed class Node(int[] source, int start, int end)
    {
        private readonly int _start = start, _end = end;
        private int[] _source = source;
        private SortedSet<Prompt> _ranked = []; // those that end here, and the best of every child

        public Dictionary<int, Node> Children { get; private init; } = [];

        /// <summary>Sequences that end here.</summary>
        public int Ends { get; private set; }

        public Prompt? Best => _ranked.Count > 0 ? _ranked.Min : null;

        public ReadOnlySpan<int> Label => _source.AsSpan(_start, _end - _start);

        public void AddEnd(Prompt prompt)
        {
            _ranked.Add(prompt);
            Ends++;
        }

        public void RemoveEnd(Prompt prompt)
        {
            _ranked.Remove(prompt);
            Ends--;
        }

        /// <summary>A child has another best one now.</summary>
        /// <returns>The best of this node before.</returns>
        public Prompt? Replace(Prompt? old, Prompt? now)
        {
            var before = Best;
            if (old == now)
                return before;
            if (old is { } gone)
                _ranked.Remove(gone);
            if (now is { } better)
                _ranked.Add(better);
            return before;
        }

        /// <summary>A node for the first tokens of the run, with one for the rest below it.</summary>
        public Node Split(int length)
        {
            var upper = new Node(_source, _start, _start + length);
            var lower = new Node(_source, _start + length, _end) { _ranked = _ranked, Ends = Ends, Children = Children };
            upper.Children.Add(lower.Label[0], lower);
            upper.Replace(null, lower.Best);
            return upper;
        }

        /// <summary>One node for this run and the only one below it.</summary>
        public Node Join()
        {
            var (_, lower) = Children.Single();
            return new Node(lower._source, lower._start - (_end - _start), lower._end)
            {
                _ranked = lower._ranked,
                Ends = lower.Ends,
                Children = lower.Children,
            };
        }

        /// <summary>Takes the tokens from another sequence, so that those of one that is gone are not kept.</summary>
        public void LetGo(int[] gone, int[] another)
        {
            if (ReferenceEquals(_source, gone))
                _source = another;
        }
    }
}
