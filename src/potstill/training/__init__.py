"""Training: a recipe and labelled examples become a fitted student, and what happened is written down.

In: a recipe, training and validation examples. Out: a student, its history (evaluated each epoch), the counts of
what trained, and predictions for rows that the student never saw. Every rung goes through `fit.fit`; the
fine-tuned one through `finetune`, which builds a model, checks what trains and hands it to `loop`.
"""
